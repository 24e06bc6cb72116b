"""Causal language models of the Llama family in plain JAX: a function of parameters.

Blocks of attention and a gated perceptron, each after an RMS norm and added to the
residual stream (Touvron et al., 2023). Several query heads share a key and a value head
(Ainslie et al., 2023); positions are rotations of neighboring pairs (Su et al., 2021).

Parameters are a nested dict: `embed [vocabulary width]`, `blocks`, a list of one dict
per block (or one dict of stacks, from `stacked`), `norm [width]`, and `head [width
vocabulary]` unless the head is the embedding. Kernels are `[in out]`. A block may have
a dict `digital`: for each kernel, what is computed digitally in addition to the
product, see `adapted`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array as JArray
from jaxtyping import Float, Int

from anajax._core import checks
from anajax._core.types import PRNGKey

Params = dict[str, Any]
KERNELS = ("q", "k", "v", "o", "gate", "up", "down")
"""The matrices of a block, by their names in the report of `anajax.analog`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Llama:
    """The sizes and constants of a network.

    Raises:
        ValueError: if a size is not positive, or heads do not share evenly.

    Example:
        >>> net = Llama(
        ...     layers=2, width=16, inner=32, heads=4, kv_heads=2, vocabulary=11
        ... )
        >>> params = net.init(jax.random.key(0))
        >>> net.logits(params, jnp.zeros((1, 5), int)).shape
        (1, 5, 11)
    """

    layers: int
    """Number of blocks."""
    width: int
    """Width of the residual stream."""
    inner: int
    """Hidden width of the perceptrons."""
    heads: int
    """Number of query heads."""
    kv_heads: int
    """Number of key and value heads; each serves the same number of query heads."""
    vocabulary: int
    """Number of tokens."""
    head_width: int = 0
    """Width of a head; 0 for `width / heads`."""
    theta: float = 10_000.0
    """Base of the wavelengths of the rotations."""
    eps: float = 1e-5
    """Constant added to mean squares in the norms."""
    tied: bool = True
    """Whether the head is the embedding."""
    remat: bool = False
    """Whether gradients recompute each block, to save memory."""

    def __post_init__(self) -> None:
        sizes = ("layers", "width", "inner", "heads", "kv_heads", "vocabulary")
        for name in sizes:
            checks.whole(name, getattr(self, name), least=1)
        if self.heads % self.kv_heads:
            got = f"{self.kv_heads} for {self.heads} query heads"
            checks.fail("kv_heads", "divide `heads`", got, "Correct it.")
        if not self.head_width:
            object.__setattr__(self, "head_width", self.width // self.heads)
        if self.head_width % 2:
            rule = "be even, for rotations of pairs"
            checks.fail("head_width", rule, self.head_width, "Correct it.")

    def logits(
        self, params: Params, tokens: Int[JArray, "n time"]
    ) -> Float[JArray, "n time vocabulary"]:
        """Logits of the token after each of `tokens`."""
        h = self.hidden(params, tokens)
        head = params["embed"].T if self.tied else params["head"]
        return h @ head

    def hidden(
        self, params: Params, tokens: Int[JArray, "n time"]
    ) -> Float[JArray, "n time width"]:
        """The normalized stream that the head reads."""
        blocks = stacked(params)["blocks"]
        turns = rotations(tokens.shape[1], self.head_width, self.theta)

        def step(h: JArray, block: Params) -> tuple[JArray, None]:
            return self.block(block, h, turns), None

        step = jax.checkpoint(step) if self.remat else step
        h, _ = jax.lax.scan(step, params["embed"][tokens], blocks)
        return rms_norm(h, params["norm"], self.eps)

    def step(
        self, block: Params, h: Float[JArray, "n time width"]
    ) -> Float[JArray, "n time width"]:
        """The stream after one block, in the form for `optimize_block_by_block`."""
        return self.block(block, h, rotations(h.shape[1], self.head_width, self.theta))

    def block(
        self,
        block: Params,
        h: Float[JArray, "n time width"],
        turns: tuple[JArray, JArray],
    ) -> Float[JArray, "n time width"]:
        """The stream after one block.

        Args:
            block: parameters of the block.
            h: the stream before it.
            turns: from `rotations`.
        """
        h = h + self._attention(block, rms_norm(h, block["norm1"], self.eps), turns)
        x = rms_norm(h, block["norm2"], self.eps)
        inner = jax.nn.silu(product(block, "gate", x)) * product(block, "up", x)
        return h + product(block, "down", inner)

    def _attention(
        self, block: Params, x: JArray, turns: tuple[JArray, JArray]
    ) -> JArray:
        n, time, _ = x.shape
        q = product(block, "q", x).reshape(n, time, self.heads, self.head_width)
        k = product(block, "k", x).reshape(n, time, self.kv_heads, self.head_width)
        v = product(block, "v", x).reshape(n, time, self.kv_heads, self.head_width)
        q, k = rotated(q, turns), rotated(k, turns)
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        return product(block, "o", mixed.reshape(n, time, -1))

    def rows_scaled(
        self, params: Params, moments: Mapping[str, JArray], strength: float = 0.5
    ) -> Params:
        """The same network, with kernel rows scaled by the power of their inputs.

        Row i of a kernel is multiplied by (mean x_i^2)^(strength / 2) over its
        geometric mean, so that rows with large inputs use more of an array's range; the
        preceding operation (gains of norms, columns of `up`) is divided by it. `o`
        stays unchanged.

        Args:
            params: parameters of this network, with blocks in a list.
            moments: by path, mean of x x', from `transformation.second_moments`.
            strength: 0 for none; 1 for inputs of equal power.
        """

        def scale(i: int, name: str) -> JArray:
            power = jnp.diagonal(moments[f"blocks/{i}/{name}"][0])
            logs = jnp.log(jnp.maximum(power, 1e-12 * jnp.max(power)))
            return jnp.exp((logs - jnp.mean(logs)) * strength / 2)

        def block(i: int, given: Params) -> Params:
            new = dict(given)
            for norm, names in (("norm1", ("q", "k", "v")), ("norm2", ("gate", "up"))):
                s = scale(i, names[0])
                new |= {norm: given[norm] / s}
                new |= {name: given[name] * s[:, None] for name in names}
            s = scale(i, "down")
            return new | {"up": new["up"] / s, "down": given["down"] * s[:, None]}

        every = [block(i, given) for i, given in enumerate(params["blocks"])]
        return params | {"blocks": every}

    def shapes(self) -> Params:
        """The shape of each parameter, as `jax.ShapeDtypeStruct`."""
        wide, narrow = self.heads * self.head_width, self.kv_heads * self.head_width
        width, inner = self.width, self.inner
        block = {
            "norm1": (width,), "q": (width, wide), "k": (width, narrow),
            "v": (width, narrow), "o": (wide, width), "norm2": (width,),
            "gate": (width, inner), "up": (width, inner), "down": (inner, width),
        }  # fmt: skip
        every = {
            "embed": (self.vocabulary, width),
            "blocks": [block] * self.layers,
            "norm": (width,),
        }
        if not self.tied:
            every["head"] = (width, self.vocabulary)
        return jax.tree.map(
            lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
            every,
            is_leaf=lambda v: isinstance(v, tuple),
        )

    def init(self, key: PRNGKey) -> Params:
        """New parameters: norms of 1, kernels with standard deviation 1 / sqrt(rows).

        Args:
            key: consumed.
        """
        leaves, form = jax.tree.flatten(self.shapes())
        drawn = [
            jnp.ones(leaf.shape)
            if len(leaf.shape) == 1
            else jax.random.normal(jax.random.fold_in(key, i), leaf.shape)
            / jnp.sqrt(leaf.shape[0])
            for i, leaf in enumerate(leaves)
        ]
        params = jax.tree.unflatten(form, drawn)
        scale = (self.vocabulary / self.width) ** 0.5
        return params | {"embed": params["embed"] * scale}

    def adapted(self, params: Params, rank: int, key: PRNGKey) -> Params:
        """Parameters with digital additions to each kernel, initially without effect.

        y = scale (W x) + bias + B (A x), with `scale` and `bias` per output and a
        low-rank adapter of `down` (A) and `up` (B), which starts as zeros (Hu et al.,
        2022). Keep them digital by a rule for `ADAPTERS`.

        Args:
            params: parameters of this network.
            rank: rank of the adapters.
            key: draws A; consumed.

        Raises:
            ValueError: if `rank` is not positive.
        """
        checks.whole("rank", rank, least=1)
        given = stacked(params)["blocks"]

        def beside(name: str, key: PRNGKey) -> dict[str, JArray]:
            layers, rows, columns = given[name].shape
            down = jax.random.normal(key, (layers, rows, rank)) / rows**0.5
            zeros = jnp.zeros((layers, columns))
            up = jnp.zeros((layers, rank, columns))
            return {"scale": zeros + 1, "bias": zeros, "down": down, "up": up}

        keys = (jax.random.fold_in(key, i) for i in range(len(KERNELS)))
        more = {n: beside(n, k) for n, k in zip(KERNELS, keys, strict=True)}
        whole = params | {"blocks": given | {"digital": more}}
        return whole if isinstance(params["blocks"], dict) else unstacked(whole)


ADAPTERS = r"blocks/(\d+/)?digital/.*"
"""The paths of the parameters added by `Llama.adapted`."""


def stacked(params: Params) -> Params:
    """Parameters with one dict of stacks `[layers ...]` for all blocks."""
    blocks = params["blocks"]
    if isinstance(blocks, dict):
        return params
    return params | {"blocks": jax.tree.map(lambda *w: jnp.stack(w), *blocks)}


def unstacked(params: Params) -> Params:
    """Parameters with a list of one dict per block."""
    blocks = params["blocks"]
    if not isinstance(blocks, dict):
        return params
    count = len(jax.tree.leaves(blocks)[0])
    each = [jax.tree.map(lambda w, i=i: w[i], blocks) for i in range(count)]
    return params | {"blocks": each}


def product(block: Params, name: str, x: Float[JArray, "*n rows"]) -> JArray:
    """Vectors times a kernel of a block, plus its digital additions."""
    y, beside = x @ block[name], block.get("digital", {}).get(name)
    if beside is None:
        return y
    adapter = (x @ beside["down"]) @ beside["up"]
    return beside["scale"] * y + beside["bias"] + adapter


def rms_norm(
    x: Float[JArray, "*n width"], gain: Float[JArray, "width"], eps: float
) -> Float[JArray, "*n width"]:
    """Vectors of root mean square 1, times a gain."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + eps) * gain


def rotations(time: int, width: int, theta: float) -> tuple[JArray, JArray]:
    """Cosine and sine `[time width/2]` of each position's angle of each pair."""
    rates = theta ** (-jnp.arange(0, width, 2) / width)
    angles = jnp.arange(time)[:, None] * rates
    return jnp.cos(angles), jnp.sin(angles)


def rotated(
    x: Float[JArray, "n time heads width"], turns: tuple[JArray, JArray]
) -> Float[JArray, "n time heads width"]:
    """Neighboring pairs of each head, turned by the angles of their position."""
    cosine, sine = (t[:, None, :] for t in turns)
    even, odd = x[..., ::2], x[..., 1::2]
    both = even * cosine - odd * sine, even * sine + odd * cosine
    return jnp.stack(both, -1).reshape(x.shape)
