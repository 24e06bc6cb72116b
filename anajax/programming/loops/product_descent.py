"""Programming by the error of products: gradient descent on the outputs of a tile.

After a first programming, the tile multiplies random vectors; the difference from the
desired products, correlated with the vectors, estimates the error of every weight at
once, and pulses correct it. The errors of all devices of a weight and of the read-out
are measured together, and reading takes whole vectors instead of single devices (Büchel
et al., IEEE JETCAS 13, 2023, doi 10.1109/JETCAS.2023.3330449, "gradient descent-based
programming"; vectors, pulse model and step sizes here are our own choices).
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip, rng
from anajax._core import checks
from anajax._core.options import option
from anajax._core.tree import pytree, replace, static
from anajax._core.types import PRNGKey, PyTree
from anajax.devices.base import Cells, Device, age, program
from anajax.devices.stages import Number
from anajax.mapping.strategy import (
    Normalize,
    Strategy,
    as_strategy,
    check_strategy,
    decode,
    encode,
)


@pytree
class ProductDescent:
    """How a tile is corrected by its products.

    Every turn estimates the error of each weight from `vectors` products with entries
    of +1 and -1, adds it to a running average (with weight 1/turn), and corrects
    weights whose estimate exceeds `threshold` by pulses on the least significant pair,
    or on the next ones at the end of its range.

    Raises:
        ValueError: if `turns` or `vectors` < 1, or a noise is negative.
    """

    pulse: Number = option(0.3, "noise of a pulse, 0 uS or more", least=0)
    """Standard deviation of a pulse, uS (cycle-to-cycle)."""
    output: Number = option(0.0, "noise of an output, 0 or more", least=0)
    """Standard deviation of one output in addition to the devices' read noise, in units
    of the product of normalized weights with entries of 1 (cycle-to-cycle)."""
    gain: Number = option(1.0, "a fraction above 0", above=0)
    """Fraction of the estimated error that is corrected."""
    threshold: Number = option(0.0, "an error of 0 uS or more", least=0)
    """Smallest estimated error that is corrected by a pulse, uS of the least
    significant pair."""
    turns: int = option(10, "1 turn or more", least=1, static=True)
    vectors: int = option(256, "1 product per turn or more", least=1, static=True)
    """Products per turn."""

    def __post_init__(self) -> None:
        for name in ("turns", "vectors"):
            if getattr(self, name) < 1:
                checks.fail(name, "be at least 1", getattr(self, name), "Use more.")
        for name in ("pulse", "output", "threshold"):
            checks.positive(name, getattr(self, name), strictly=False)


@pytree
class ProductDescentResult:
    """A tile after product descent, and what it cost."""

    cells: Cells
    pulses: Float[JArray, "rows columns"]
    """Corrective pulses per weight, in addition to the first programming."""
    products: int = static()
    """Number of vectors multiplied, for the whole tile at once."""
    history: Float[JArray, "turns"]
    """Root mean square error of the weights before each turn, as a fraction of w_max.
    """


def program_by_products(
    loop: ProductDescent,
    device: Device,
    strategy: Strategy,
    u: Float[JArray, "rows columns"],
    *,
    key: PRNGKey,
) -> ProductDescentResult:
    """Program the normalized weights of one tile, then correct them by its products.

    Args:
        loop: turns, vectors, noise of pulses and outputs.
        device: the device model; its programming error is that of the first pulse.
        strategy: targets, F and K; pairs.
        u: normalized weights, usually in -1..1.
        key: consumed; one key is one chip.

    Raises:
        ValueError: if `u` is not a matrix, or the strategy has no pairs.
    """
    if jnp.ndim(u) != 2:
        checks.fail("u", "be a matrix", jnp.shape(u), "Give one tile.")
    if not as_strategy(strategy).cell.paired:
        checks.fail(
            "strategy", "be made of pairs", strategy.cell.signs, "Use pairs(2)."
        )
    if device.levels is not None:
        checks.fail(
            "device", "be analog", f"{device.name} with levels", "Use enumerate_levels."
        )
    check_strategy(strategy, device)
    cells = program(device, encode(strategy, u), key=key)

    def turn(state: tuple, i: JArray) -> tuple[tuple, JArray]:
        cells, pulses, average = state
        here = rng.stream(key, rng.Stage.PRODUCT, i)
        error = decode(strategy, _visible(device, cells)) - u
        seen = _estimate(loop, device, strategy, cells, error, here)
        average = average + (seen - average) / (i + 1)
        change = -loop.gain * average * strategy.scale
        due = jnp.abs(change) > loop.gain * loop.threshold
        cells, moved = _pulse(
            loop, device, strategy, cells, jnp.where(due, change, 0.0), here
        )
        average = average + jnp.where(due, moved / strategy.scale, 0.0)
        return (cells, pulses + due, average), jnp.sqrt(jnp.mean(error**2))

    start = cells, jnp.zeros_like(u), jnp.zeros_like(u)
    (cells, pulses, _), history = jax.lax.scan(turn, start, jnp.arange(loop.turns))
    state = device.drift.init(
        cells.target, cells.programmed, key=rng.stream(key, rng.Stage.FREEZE)
    )
    return ProductDescentResult(
        cells=age(device, replace(cells, state=state), t=0.0, extrapolate=True),
        pulses=pulses,
        products=loop.turns * loop.vectors,
        history=history,
    )


@pytree
class ProductDescentLayer(chip.LayerProgram):
    """A layer of a chip that is corrected by its products, as one tile.

    Each layer of a stack is one tile.
    """

    loop: ProductDescent
    strategy: Strategy
    u: Float[JArray, "*weights"]
    """Normalized weights."""

    def write(self, device: Device, *, key: PRNGKey) -> Cells:
        tiles = self.layout.matrices(self.u)

        def one(tile: JArray, key: PRNGKey) -> Cells:
            return program_by_products(
                self.loop, device, self.strategy, tile, key=key
            ).cells

        if self.layout.stack:
            own = rng.streams(key, rng.Stage.PRODUCT, jnp.arange(tiles.shape[0]))
            cells = jax.vmap(one)(tiles, own)
        else:
            cells = jax.tree.map(lambda leaf: leaf[None], one(tiles[0], key))
        return jax.tree.map(lambda v: self.layout.restored(v, self.u.shape), cells)


def product_descent_layers(
    params: PyTree,
    strategy: Strategy,
    loop: ProductDescent,
    *,
    select: chip.Select = chip.default_select,
    normalize: Normalize = "layer",
    layout: chip.Layouts = None,
) -> dict[str, chip.LayerProgram]:
    """The layers of a network for `chip.program` and `evaluate`, by path.

    Raises:
        ValueError: if rows and columns of a weight are unknown.
    """
    ideal = chip.normalized_weights(
        params, select=select, normalize=normalize, layout=layout
    )
    for path, w in ideal.items():
        w.layout.need_columns(path, w.u.shape)
    return {
        path: ProductDescentLayer(
            **vars(chip.as_layer(w, strategy)), loop=loop, strategy=strategy, u=w.u
        )
        for path, w in ideal.items()
    }


def _estimate(
    loop: ProductDescent,
    device: Device,
    strategy: Strategy,
    cells: Cells,
    error: JArray,
    key: PRNGKey,
) -> JArray:
    """Errors of all weights as products with random signs show them."""
    rows, columns = error.shape
    x = jr.rademacher(rng.path_key(key, "inputs"), (loop.vectors, rows), error.dtype)
    sd = device.read.sd(
        cells.g, target=cells.target, programmed=cells.programmed, t=0.0
    )
    c = strategy.cell.coefficients(strategy.significance) / strategy.scale
    per_output = jnp.sum(sd**2 @ c**2, 0) + loop.output**2
    noise = jr.normal(rng.path_key(key, "outputs"), (loop.vectors, columns))
    seen = x @ error + jnp.sqrt(per_output) * noise
    return x.T @ seen / loop.vectors


def _pulse(
    loop: ProductDescent,
    device: Device,
    strategy: Strategy,
    cells: Cells,
    change: JArray,
    key: PRNGKey,
) -> tuple[Cells, JArray]:
    """Change the weights by `change` (uS of the least significant pair).

    The least significant pair takes what its range allows, the next ones the rest.
    Returns the cells, and the change that was asked of them in all.
    """
    low, high = device.g_min, device.g_max
    g, rest, steps = cells.programmed, change, []
    for pair in reversed(range(strategy.cell.factors)):
        factor = strategy.significance[pair]
        plus, minus = g[..., 2 * pair], g[..., 2 * pair + 1]
        raised = jnp.clip(plus + rest / factor, low, high) - plus
        raised = jnp.where(rest == 0, 0.0, raised)
        left = rest / factor - raised
        lowered = minus - jnp.clip(minus - left, low, high)
        lowered = jnp.where(left == 0, 0.0, lowered)
        steps = [raised, -lowered, *steps]
        rest = rest - factor * (raised + lowered)
    step = jnp.stack(steps, -1)
    xi = loop.pulse * jr.normal(rng.path_key(key, "pulses"), step.shape, step.dtype)
    after = jnp.maximum(g + jnp.where(step != 0, step + xi, 0.0), 0)
    g = after
    if device.faults is not None:
        g = device.faults.apply(after, cells.faults, device)
    return replace(cells, programmed=after, g=g), change - rest


def _visible(device: Device, cells: Cells) -> JArray:
    """Conductances as a product sees them: dead lines are silent."""
    if device.faults is None:
        return cells.g
    return device.faults.silence(cells.g, cells.faults)
