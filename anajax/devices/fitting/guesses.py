"""Starting points of the fit from the data, by matching moments of groups of cells.

Cells are grouped by target and reads by time. In each group, the mean and the spread
predicted by a form, from the quadrature nodes of its stages, are matched to the
measured ones by least squares. What the groups leave undetermined is decided by rules
on the data, not by the constants of the form: forms that differ only in these start at
the same point.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core.tree import pytree
from anajax.devices.fitting.likelihood import Measured
from anajax.devices.fitting.parameters import Layout, Vector
from anajax.devices.quadrature import Nodes

CELLS, TIMES = 12, 6
"""Numbers of groups of cells by target, and of reads by time."""
EVEN = 1e-2
"""Weight of two rules for what the groups leave undetermined: tables are flat, and the
mean of drift, its spread and the noise contribute equally to the change of reads."""
TIE = 1e-4
"""Weight of the form's own constants, for what is still undetermined."""
TILT = 1.0
"""Log ratio by which starting points differ in their shares of drift and read noise."""


@pytree
class Groups:
    """Means and spreads of groups of measurements; weight 0 for empty groups."""

    target: Float[JArray | np.ndarray, "groups"]
    """uS."""
    programmed: Float[JArray | np.ndarray, "groups"]
    """uS."""
    time: Float[JArray | np.ndarray, "groups"]
    """s; not used for programming."""
    mean: Float[JArray | np.ndarray, "groups"]
    """Mean of programmed minus target, or of read minus programmed, uS."""
    sd: Float[JArray | np.ndarray, "groups"]
    """uS."""
    weight: Float[JArray | np.ndarray, "groups"]


def starts(places: Layout, data: Measured) -> list[Vector]:
    """Coordinates of starting points: the form's, and those from the data.

    The spread of reads may come from drift that differs between cells or from noise. So
    there are three starting points from the data: with the matched moments, and with
    more of the one or of the other.
    """
    matched = from_moments(places, data)
    if matched is None:
        return [places.coordinates()]
    bounded = places.bounded()
    drift, read = (
        np.array(
            [b and n.startswith(s) for n, b in zip(places.names, bounded, strict=True)]
        )
        for s in ("drift.", "read.")
    )
    tilt = TILT * (1.0 * drift - 1.0 * read)
    found = [places.coordinates(), matched]
    return found + ([matched + tilt, matched - tilt] if np.any(read) else [])


def from_moments(places: Layout, data: Measured) -> Vector | None:
    """Coordinates whose predicted moments match the data; None if there are none."""
    from scipy.optimize import least_squares  # slow to import

    written, read = _groups(data)
    start = places.level(places.coordinates())

    def off(at: np.ndarray) -> np.ndarray:
        return np.asarray(_off(places, start, jnp.asarray(at), written, read))

    def slope(at: np.ndarray) -> np.ndarray:
        return np.asarray(_slope(places, start, jnp.asarray(at), written, read))

    if not np.isfinite(off(np.asarray(start))).all():
        return None
    try:
        found = least_squares(off, np.asarray(start), slope, max_nfev=40)
    except (ValueError, np.linalg.LinAlgError):  # left the finite numbers
        return None
    return jnp.asarray(found.x) if np.isfinite(found.x).all() else None


def _mismatch(
    places: Layout, start: Vector, at: Vector, written: Groups, read: Groups
) -> JArray:
    device = places.device(places.values(at))
    mean, sd = _moments(device.programming.nodes(written.target))
    first = _apart(mean - written.target, sd, written)

    def later(target: JArray, programmed: JArray, t: JArray) -> tuple[JArray, ...]:
        mean, sd = _moments(device.drift.nodes(target, programmed, t=t))
        noise = device.read.sd(mean, target=target, programmed=programmed, t=t)
        return mean, sd, jnp.abs(noise) + 1e-15

    mean, sd, noise = jax.vmap(later)(read.target, read.programmed, read.time)
    second = _apart(mean - read.programmed, jnp.sqrt(sd**2 + noise**2), read)
    change = jnp.sqrt((mean - read.programmed) ** 2 + 1e-30)
    parts = [read.weight * jnp.log(sd / other) for other in (noise, change)]
    rules = EVEN * jnp.concatenate([places.steps(at), *parts])
    return jnp.concatenate([first, second, rules, TIE * (at - start)])


_off = jax.jit(_mismatch)
_slope = jax.jit(jax.jacfwd(_mismatch, argnums=2))


def _moments(nodes: Nodes) -> tuple[JArray, JArray]:
    mean = jnp.sum(nodes.weight * nodes.value, -1)
    square = jnp.sum(nodes.weight * (nodes.value - mean[..., None]) ** 2, -1)
    return mean, jnp.sqrt(square + 1e-30)


def _apart(mean: JArray, sd: JArray, seen: Groups) -> JArray:
    shift = (mean - seen.mean) / seen.sd
    shift = jnp.arcsinh(shift)  # far off, its logarithm
    return jnp.concatenate(
        [seen.weight * shift, seen.weight * (jnp.log(sd) - jnp.log(seen.sd))]
    )


def _groups(data: Measured) -> tuple[Groups, Groups]:
    target, programmed = np.asarray(data.target), np.asarray(data.programmed)
    cell = _quantiles(target, CELLS)
    written = _grouped(
        cell, CELLS, target, programmed, np.zeros_like(target), programmed - target
    )
    rows, columns = np.nonzero(np.asarray(data.valid))
    time, read = (np.asarray(v)[rows, columns] for v in (data.time, data.read))
    group = cell[rows] * TIMES + _quantiles(time, TIMES)
    change = read - programmed[rows]
    return written, _grouped(
        group, CELLS * TIMES, target[rows], programmed[rows], time, change
    )


def _quantiles(value: np.ndarray, count: int) -> np.ndarray:
    edges = np.unique(np.quantile(value, np.linspace(0, 1, count + 1)[1:-1]))
    return np.searchsorted(edges, value)


def _grouped(
    group: np.ndarray,
    count: int,
    target: np.ndarray,
    programmed: np.ndarray,
    time: np.ndarray,
    change: np.ndarray,
) -> Groups:
    size = np.bincount(group, minlength=count)
    safe = np.maximum(size, 1)

    def mean(value: np.ndarray) -> np.ndarray:
        return np.bincount(group, value, minlength=count) / safe

    center = mean(change)
    sd = np.sqrt(np.bincount(group, (change - center[group]) ** 2, count) / safe)
    used = (size >= 4) & (sd > 0)
    rest = np.where(used, 1.0, 0.0)
    return Groups(
        target=np.where(used, mean(target), np.mean(target)),
        programmed=np.where(used, mean(programmed), np.mean(programmed)),
        time=np.where(used, np.expm1(mean(np.log1p(time))), np.mean(time)),
        mean=np.where(used, center, 0.0),
        sd=np.where(used, sd, 1.0),
        weight=rest,
    )
