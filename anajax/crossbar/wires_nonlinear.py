"""Cells with a nonlinear current-voltage curve, with wire resistance.

Newton's method on the cell voltages of `wires`: each step is a linear circuit with the
differential conductances of the cells. First derivatives are implicit (one more linear
solve) and exact; second derivatives are not exact.
"""

import abc

import jax
import jax.numpy as jnp

from anajax._core import checks
from anajax._core.tree import pytree
from anajax._core.types import Float, JArray
from anajax.crossbar.ladder import padded
from anajax.crossbar.wires import (
    ACCURACY,
    Limits,
    Solution,
    Wires,
    check_array,
    drop,
    mapped,
    oriented,
    solve_framed,
)


class AbstractCell(abc.ABC):
    """The current-voltage curve of a cell."""

    @abc.abstractmethod
    def current(
        self, g: Float[JArray, "*cells"], d: Float[JArray, "*cells"]
    ) -> Float[JArray, "*cells"]:
        """Current (uA) at cell voltage `d` (V) of cells of conductance `g` (uS).

        Elementwise, differentiable, increasing in `d`, and zero if `d` or `g` is zero.
        """


@pytree
class OhmicCell(AbstractCell):
    """I = G V."""

    def current(
        self, g: Float[JArray, "*cells"], d: Float[JArray, "*cells"]
    ) -> Float[JArray, "*cells"]:
        return g * d


@pytree
class MiloCell(AbstractCell):
    """HfO2 ReRAM, I = G V + a V |V| + b V^3 (Milo et al., IRPS 2021, Fig. 4).

    In SI units with L = log10 G: a = 0.0001388 L^3 + 0.001541 L^2 + 0.005711 L +
    0.007063, b = 8.8710e-5 L^2 + 6.7919e-4 L + 1.2968e-3. Fitted for 50 to 225 uS and
    up to 0.5 V of one sign; extended as an odd function of V. Outside that range of G,
    the curve has the shape at the end of the range, in proportion to G.
    """

    def current(
        self, g: Float[JArray, "*cells"], d: Float[JArray, "*cells"]
    ) -> Float[JArray, "*cells"]:
        fitted = jnp.clip(g, 50.0, 225.0)
        log = jnp.log10(fitted) - 6
        a = ((0.0001388 * log + 0.001541) * log + 0.005711) * log + 0.007063
        b = (8.8710e-5 * log + 6.7919e-4) * log + 1.2968e-3
        return g * d + g / fitted * 1e6 * (a * d * jnp.abs(d) + b * d**3)


def solve_nonlinear(
    g: Float[JArray, "rows columns"],
    v: Float[JArray, "*batch rows"],
    wires: Wires,
    cell: AbstractCell,
    *,
    tolerance: float | None = None,
    max_iterations: int = 20,
) -> Solution:
    """Column currents and cell voltages of an array of nonlinear cells.

    Args:
        g: cell conductances, uS; not negative, exact zeros allowed.
        v: voltages of the row drivers, V.
        wires: resistances and connected ends.
        cell: the current-voltage curve.
        tolerance: largest change of a cell voltage in the last step, relative to the
            largest voltage; 16 machine epsilons by default.
        max_iterations: limit on Newton steps.

    Returns:
        A `Solution`, whose iterations are Newton steps; it has first derivatives with
        respect to `g`, `v`, the resistances and the constants of `cell`. NaN if the
        last step still changed the voltages by a thousandth.

    Raises:
        ValueError: if shapes do not fit, or conductances are negative (outside traces).
    """
    check_array(g, v)
    if max_iterations < 1:
        checks.fail("max_iterations", "be positive", max_iterations, "Use 20.")
    limits = Limits.of(g, None, None)
    stop = 16 * limits.tolerance if tolerance is None else tolerance
    rows, columns = g.shape
    pad = [(0, padded(rows) - rows), (0, padded(columns) - columns)]
    framed = jnp.pad(oriented(g, wires), pad)

    def lost(cells: tuple, d: JArray) -> JArray:
        g, wires, cell = cells
        return drop(cell.current(g, d), (rows, columns), wires)

    def slope(cells: tuple, d: JArray) -> JArray:
        g, _, cell = cells
        rise = jax.jvp(lambda d: cell.current(g, d), (d,), (jnp.ones_like(d),))[1]
        return jnp.maximum(rise, 0)

    def step(cells: tuple, d: JArray, source: JArray) -> JArray:
        """Newton's change of `d`; its derivative is that of the solution."""
        miss = source - d - lost(cells, d)
        linear = slope(*jax.lax.stop_gradient((cells, d)))
        frozen = jax.lax.stop_gradient(cells[1])
        solution, _ = solve_framed(
            linear, miss, lambda x: drop(x, (rows, columns), frozen), limits
        )
        return solution[0]

    def settle(cells: tuple, source: JArray) -> tuple[JArray, JArray]:
        limit = stop * jnp.max(jnp.abs(source))

        def body(state: tuple) -> tuple:
            d, _, count = state
            change = step(cells, d, source)
            return d + change, jnp.max(jnp.abs(change)), count + 1

        def going(state: tuple) -> JArray:
            return (state[1] > limit) & (state[2] < max_iterations)

        infinite = jnp.asarray(jnp.inf, source.dtype)
        start = (jnp.zeros_like(source), infinite, jnp.asarray(0))
        d, change, count = jax.lax.while_loop(going, body, start)
        most = jnp.maximum(limit, ACCURACY * jnp.max(jnp.abs(d)))
        return jnp.where(change <= most, d, jnp.nan), count

    def one(v: JArray) -> tuple:
        source = jnp.broadcast_to(v[:, None], g.shape)
        source = jnp.pad(oriented(source, wires), pad)
        cells = (framed, wires, cell)
        found, count = settle(*jax.lax.stop_gradient((cells, source)))
        found = jax.lax.stop_gradient(found)
        d = found + step(cells, found, source)
        d = oriented(d[:rows, :columns], wires)
        return jnp.sum(cell.current(g, d), axis=0), d, count

    found = mapped(one, v.reshape(-1, rows), g.size)
    current, voltage, count = (x.reshape(*v.shape[:-1], *x.shape[1:]) for x in found)
    return Solution(current=current, voltage=voltage, iterations=count)
