"""What a device is: three slots, and the flow program -> age -> read.

The signature tells the variability. `program` takes a key and draws the programming
error (cycle-to-cycle) and every frozen fact of the cells (device-to-device, such as
the drift exponent). `age` draws nothing: a chip has one trajectory. `read` takes a key
and is fresh at every call (cycle-to-cycle). Conductances are in uS, times in s counted
from the first read after programming.
"""

import abc
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import _checks, rng
from anajax._tree import pytree, replace, static
from anajax._types import PRNGKey, PyTree

if TYPE_CHECKING:  # constructors also take Python numbers and lists
    Number = Any
    Numbers = Any
else:
    Number = Float[JArray, "*sweep"]
    Numbers = Float[JArray, "points"]

G = Float[JArray, "*cells"]
Time = Float[JArray, ""] | float | int


@pytree
class Nodes:
    """Quadrature of a distribution: E f(g) = sum_n weight_n f(value_n), last axis n."""

    value: Float[JArray, "*cells nodes"]
    weight: Float[JArray, "*cells nodes"]


class AbstractProgramming(abc.ABC):
    """How a programmed conductance misses its target (cycle-to-cycle, fresh)."""

    @abc.abstractmethod
    def sample(self, target: G, *, key: PRNGKey) -> G:
        """Programmed conductances (uS, not negative) for `target` (uS)."""

    @abc.abstractmethod
    def nodes(self, target: G) -> Nodes:
        """Quadrature of the programmed conductance, one set of nodes per target."""


class AbstractDrift(abc.ABC):
    """How a programmed conductance changes with time (device-to-device, frozen)."""

    @abc.abstractmethod
    def init(self, target: G, programmed: G, *, key: PRNGKey) -> PyTree:
        """The frozen facts of each cell, drawn once with its programming."""

    @abc.abstractmethod
    def evolve(self, target: G, programmed: G, facts: PyTree, *, t: Time) -> G:
        """Conductances (uS) at `t` (s) of the cells with these facts."""

    @abc.abstractmethod
    def nodes(self, target: G, programmed: G, *, t: Time) -> Nodes:
        """Quadrature over the frozen facts of the conductance at `t`."""


class AbstractRead(abc.ABC):
    """Noise of one read-out: Gaussian of known deviation, then floored at zero."""

    @abc.abstractmethod
    def sd(self, g: G, *, target: G, programmed: G, t: Time) -> G:
        """Standard deviation (uS, not negative) of a read of `g` at `t`."""


@pytree
class Device:
    """An analog memory device: its range and its three stages.

    Ablation is `replace(device, drift=NoDrift())`; a sweep touches one leaf.

    Raises:
        ValueError: if `g_min >= g_max`, or `g_min` is negative.
    """

    name: str = static()
    g_min: Number
    """Lowest target conductance, uS."""
    g_max: Number
    """Highest target conductance, uS."""
    programming: Any
    """An `AbstractProgramming`."""
    drift: Any
    """An `AbstractDrift`."""
    read: Any
    """An `AbstractRead`."""
    source: str = static(default="user-defined")
    """Where the model comes from: paper, figure, and what is an assumption."""
    valid_times: tuple[float, float] = static(default=(0.0, float("inf")))
    """Times (s) that the source covers; beyond, the model extrapolates."""

    def __post_init__(self) -> None:
        _checks.positive("g_min", self.g_min, strictly=False)
        _checks.positive("g_max", self.g_max)
        if _checks.concrete(self.g_min, self.g_max) and bool(
            jnp.any(self.g_min >= self.g_max)
        ):
            _checks.fail(
                "g_min",
                "be less than `g_max`",
                f"g_min={self.g_min}, g_max={self.g_max} uS",
                "Exchange them, or widen the range.",
            )


@pytree
class Cells:
    """The programmed cells of one chip at one time."""

    target: Float[JArray, "*cells"]
    """What was asked for, uS."""
    programmed: Float[JArray, "*cells"]
    """What the programming left, uS."""
    g: Float[JArray, "*cells"]
    """Conductance at the time the cells were aged to (0 s: as programmed), uS."""
    facts: Any
    """Frozen facts of each cell, as the drift slot drew them."""


def program(device: Device, targets: G, *, key: PRNGKey) -> Cells:
    """Program one chip: draw its programming errors and its frozen facts.

    Args:
        device: the device model.
        targets: target conductances, uS, any shape.
        key: consumed; one key is one chip.

    Returns:
        The cells, unaged.
    """
    targets = jnp.asarray(targets)
    g = device.programming.sample(targets, key=rng.stream(key, rng.Stage.PROGRAM))
    facts = device.drift.init(targets, g, key=rng.stream(key, rng.Stage.FREEZE))
    return Cells(target=targets, programmed=g, g=g, facts=facts)


def age(device: Device, cells: Cells, *, t: Time) -> Cells:
    """The same chip at time `t`: always counted from programming, never added up.

    Args:
        device: the device model.
        cells: cells as programmed or as aged to any other time.
        t: seconds since the first read after programming.

    Returns:
        The cells with `g` at time `t`.
    """
    _checks.positive("t", t, strictly=False)
    g = device.drift.evolve(cells.target, cells.programmed, cells.facts, t=t)
    return replace(cells, g=g)


def read(device: Device, cells: Cells, *, t: Time, key: PRNGKey) -> G:
    """One read-out at time `t` of cells aged to `t`, with fresh read noise.

    Args:
        device: the device model.
        cells: cells from `age(device, cells, t=t)`.
        t: seconds since the first read; enters the 1/f noise accumulated so far.
        key: consumed; one key is one read-out.

    Returns:
        Conductances in uS, not negative, shaped as the cells.
    """
    sd = device.read.sd(cells.g, target=cells.target, programmed=cells.programmed, t=t)
    key = rng.stream(key, rng.Stage.READ)
    xi = jr.normal(key, jnp.shape(cells.g), jnp.result_type(cells.g))
    return jnp.maximum(cells.g + sd * xi, 0)
