"""Local sensitivity: elasticities of the loss and of the weight error, in one pass.

The elasticity d ln L / d ln p is the relative change of L per relative change of a
parameter p. Conductances are drawn with their exact means and variances, as smooth
functions of every device parameter, including faults; wires, products and converters
follow. One backward pass per chip gives the slopes of both outputs.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip, rng
from anajax._core import checks
from anajax._core.aligned import aligned
from anajax._core.tree import pytree, static
from anajax._core.types import PRNGKey, PyTree
from anajax._core.units import unit_at
from anajax.analysis.hardware import Hardware
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.point import rms_error
from anajax.analysis.points import chip_keys, over_points
from anajax.analysis.sharding import place
from anajax.analysis.workload import Workload
from anajax.compensation import last_recalibration
from anajax.devices.base import check_time
from anajax.devices.variation import RANGE
from anajax.mapping.strategy import check_layers
from anajax.mapping.weight_error import moment_table
from anajax.programming.end_to_end.fisher import CHIPS, rounded
from anajax.programming.end_to_end.task import layer_moments

OUTPUTS = ("loss", "weight_rms_error")
"""The two outputs: the distillation loss, and the rms weight error."""


@pytree
class Elasticities:
    """Elasticities of both outputs with respect to every hardware parameter."""

    parameters: tuple[str, ...] = static()
    """Names of the parameters, such as "device/programming/scale"."""
    value: Float[np.ndarray, "parameters"]
    """Value of each parameter."""
    units: tuple[str, ...] = static()
    """Unit of each value; empty if it is dimensionless, or not stated by its class."""
    elasticity: Float[np.ndarray, "outputs parameters"]
    """d ln output / d ln parameter, a ratio of means over chips; 0 if the output is
    only rounding, as from drift alone at 0 s: nothing changes it there."""
    error: Float[np.ndarray, "outputs parameters"]
    """Its standard error over chips."""
    output: Float[np.ndarray, "outputs chips"]
    """Loss and rms weight error of each chip."""

    def table(self) -> str:
        """All parameters with an effect as text, the largest effect on the loss first.

        Elasticities are in % of the output per % of the parameter, with standard errors
        over chips.
        """
        size = np.abs(self.elasticity)
        order = [int(i) for i in np.lexsort((-size[1], -size[0])) if size[:, i].any()]
        head = ("parameter", "value", "loss (%/%)", "+-", "weight error (%/%)", "+-")
        rows = []
        for i in order:
            both = zip(self.elasticity[:, i], self.error[:, i], strict=True)
            found = [t for v, e in both for t in (f"{v:+.3f}", f"{e:.3f}")]
            value = f"{self.value[i]:.4g} {self.units[i]}".strip()
            rows.append((self.parameters[i], value, *found))
        return aligned(head, rows)


def elasticities(
    network: AnalogNetwork,
    hardware: Hardware,
    layers: dict[str, chip.LayerProgram],
    inputs: JArray | np.ndarray,
    t: float,
    *,
    key: PRNGKey,
    chips: int = CHIPS,
    params: PyTree | None = None,
    recalibrate: Sequence[float] | None = None,
    mesh: Mesh | None = None,
    extrapolate: bool = False,
) -> Elasticities:
    """Which parameters the outputs depend on, and how strongly, at fixed targets.

    Converter and noise parameters of all layers are varied together:
    "periphery/adc/codes" changes them in all layers by the same factor. The slope with
    respect to rounding is straight-through: that of noise equivalent to the steps, not
    of single steps.

    Args:
        network: the network that is put on chips.
        hardware: hardware at which slopes are taken; ranges of the device are excluded.
        layers: the programmed layers, by path.
        inputs: unlabeled inputs.
        t: seconds after the first read.
        key: draws the chips.
        chips: number of chips.
        params: trained parameters, those of the network by default.
        recalibrate: seconds at which the drift compensation is measured, held until the
            next; None to measure it at `t`.
        mesh: accelerators that share the chips.
        extrapolate: whether `t` may lie outside what the device's source covers.

    Raises:
        ValueError: if an argument is out of range.
    """
    checks.finite("inputs", inputs)
    checks.time("t", t)
    if chips < 2:
        checks.fail("chips", "be at least 2", chips, "Errors need two chips.")
    check_time(hardware.device, t, extrapolate=extrapolate)
    check_layers(layers, hardware.device)
    measured = None
    if recalibrate is not None:
        past = [0.0, *np.asarray(recalibrate)]
        measured = jnp.asarray([past[int(last_recalibration(past[1:], t))]], float)
    keys, times = chip_keys(key, jnp.arange(chips)), (jnp.asarray([t], float), measured)
    values, slopes = per_chip(
        network,
        hardware,
        layers,
        jnp.asarray(inputs),
        times,
        keys,
        params=params,
        mesh=mesh,
    )
    names, numbers, products = [], [], []
    for name, p, product in _together(hardware, slopes):
        flat = np.reshape(product, (chips, len(OUTPUTS), -1))
        for i in range(flat.shape[-1]):
            names.append(name if flat.shape[-1] == 1 else f"{name}/{i}")
            numbers.append(np.ravel(p)[i])
            products.append(flat[..., i])
    outputs = np.asarray(values, float)  # [chips outputs]
    mean = outputs.mean(0)
    products = np.reshape(np.asarray(products, float), (-1, *outputs.shape))
    mean = np.where(mean > _least(network.work, params, layers, inputs), mean, np.inf)
    relative = products / mean  # [parameters chips outputs]
    found = relative.mean(1)
    rest = relative - found[:, None] * (outputs / mean)  # of a ratio, linearized
    return Elasticities(
        parameters=tuple(names),
        value=np.asarray(numbers, float),
        units=tuple(unit_at(hardware, name) for name in names),
        elasticity=found.T,
        error=rest.std(1, ddof=1).T / np.sqrt(chips),
        output=outputs.T,
    )


def per_chip(
    network: AnalogNetwork,
    hardware: Hardware,
    layers: dict[str, chip.LayerProgram],
    inputs: JArray,
    times: tuple[JArray, JArray | None],
    keys: PRNGKey,
    *,
    params: PyTree | None = None,
    mesh: Mesh | None = None,
) -> tuple[Float[np.ndarray, "chips outputs"], Hardware]:
    """Both outputs of each chip, and their slopes: leaves `[chips outputs ...]`.

    Args:
        network: the network that is put on chips.
        hardware: hardware at which slopes are taken.
        layers: targets by path.
        inputs: inputs of the network.
        times: time of the read-out `[1]`, and of the last drift compensation if it
            differs.
        keys: keys of the chips.
        params: trained parameters, those of the network by default.
        mesh: accelerators that share the chips.
    """
    reference = jax.jit(network.work.apply)(network.work.params, inputs)
    shared = hardware, layers, params, inputs, reference, times
    shared = shared if mesh is None else place(shared, mesh)
    return over_points(_Slopes(network), keys, shared, mesh=mesh)


@dataclasses.dataclass(frozen=True)
class _Slopes:
    """Outputs of one chip and their slopes; equal networks share a trace."""

    network: AnalogNetwork

    def __call__(self, key: PRNGKey, shared: Any) -> tuple[JArray, Hardware]:
        hardware, layers, params, inputs, reference, times = shared
        network = self.network
        params = network.work.params if params is None else params
        ideal = chip.weights(params, select=network.report)

        def outputs(hardware: Hardware) -> JArray:
            w = drawn_weights(network, hardware, layers, times, key)
            noise = rng.stream(key, rng.Stage.PRODUCT, 1)
            found = network.apply(hardware.ios, chip.insert(params, w), inputs, noise)
            far = network.work.divergence_fn(found, reference)
            return jnp.stack([far, rms_error(w, ideal, layers)])

        value, back = jax.vjp(outputs, hardware)
        (slopes,) = jax.vmap(back)(jnp.eye(len(OUTPUTS), dtype=value.dtype))
        return value, slopes


def _least(
    work: Workload,
    params: PyTree | None,
    layers: dict[str, chip.LayerProgram],
    inputs: JArray | np.ndarray,
) -> np.ndarray:
    """Both outputs if weights are only rounded."""
    params, x = work.params if params is None else params, jnp.asarray(inputs)
    ideal = chip.weights(params, select=lambda path, _: path in layers)
    near = rounded(ideal)
    found = work.apply(chip.insert(params, near), x)
    loss = work.divergence_fn(found, work.apply(params, x))
    return np.asarray([loss, rms_error(near, ideal, layers)], float)


def drawn_weights(
    network: AnalogNetwork,
    hardware: Hardware,
    layers: dict[str, chip.LayerProgram],
    times: tuple[JArray, JArray | None],
    key: PRNGKey,
) -> dict[str, JArray]:
    """Weights of a chip at a time: each device normal, with exact mean and variance.

    The drift compensation is that of the layer in the limit of many weights.
    """
    t, measured = times
    table = now = moment_table(hardware.device, t)
    if measured is not None:
        now = moment_table(hardware.device, measured)
    through = network.through(hardware.wires)
    new = {}
    for path, layer in layers.items():
        g = table(layer.targets)  # at 0 s and at t
        sd = jnp.sqrt(jnp.maximum(g.var[1], 1e-16))
        xi = jax.random.normal(rng.path_key(key, path), sd.shape, sd.dtype)
        planes = jnp.maximum(g.mean[1] + sd * xi, 0)
        planes = planes if through is None else through(path, planes)
        _, alpha = layer_moments(layer, now, t)
        alpha = alpha if network.scope != "none" else jnp.ones_like(alpha)
        new[path] = chip.finish(layer, alpha[0] * (planes @ layer.coefficients))
    return new


def _together(hardware: Hardware, slopes: Hardware) -> Any:
    """Name, value, and slope times value of each parameter.

    Periphery parameters of all layers and columns are varied by a common factor; the
    value shown for them is the first that is not 0.
    """
    found: dict[str, list] = {}
    flat, _ = jax.tree_util.tree_flatten_with_path(hardware)
    for (path, p), slope in zip(flat, jax.tree.leaves(slopes), strict=True):
        name = chip.path_name(path)
        if name.rpartition("/")[2] in RANGE and name.startswith("device"):
            continue
        p, slope = np.asarray(p, float), np.asarray(slope, float)
        product = slope * p
        if name.startswith("ios/"):
            layer = path[1].key
            name = "periphery" + chip.path_name(path).removeprefix(f"ios/{layer}")
            product = np.reshape(product, (*slope.shape[: slope.ndim - p.ndim], -1))
            p, product = np.sum(p[p != 0][:1]), product.sum(-1)
        if name in found:
            value, before = found[name]
            found[name] = [np.where(value == 0, p, value), before + product]
        else:
            found[name] = [p, product]
    return [(name, p, product) for name, (p, product) in found.items()]
