"""Wire resistance: voltage drop along the rows and columns of a crossbar.

The circuit: each row is driven through one wire segment at one end or both, each column
is held at 0 V through one segment at one end or both; neighboring cells are one segment
apart. Eliminating the wire nodes leaves one unknown per cell, its voltage d: (I + A G)
d = v, with A the drop that cell currents cause along rows and columns. It is symmetric
positive definite after scaling by sqrt(G), and conjugate gradients need 3 to 10
iterations (thousands at kOhms per segment). Derivatives solve the transposed system
once, implicitly.

Results that are not accurate to a thousandth are NaN: if the iterations did not reach
the tolerance, or if, in single precision, wires of some 100 kOhm per segment or more
leave less of the voltages than the rounding error; double precision solves these.

The circuit is linear: `effective_matrix` solves it once per array, and after that, any
number of vectors are plain products. `attenuated_matrix` is a cheap estimate for
training.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from anajax._core import checks
from anajax._core.tree import pytree, static
from anajax._core.types import Any, Float, JArray
from anajax.crossbar.converters import Number
from anajax.crossbar.ladder import padded, wire_sum

MICRO = 1e-6
"""Ohm x uS is 1e-6."""
ACCURACY = 1e-3
"""Largest relative error of the currents that are returned; otherwise they are NaN."""
ROUNDING = 16
"""Accuracy of a residual in machine epsilons, relative to the right-hand side."""
SIDE_BY_SIDE = 2**12
"""Cells processed at once if vectors are solved in parallel."""


@pytree
class Wires:
    """Resistance and connection of the lines of an array."""

    UNITS = {"row": "Ohm", "column": "Ohm"}
    row: Number
    """Resistance of a row segment (from cell to cell, and to the driver), Ohm."""
    column: Number
    """Resistance of a column segment, Ohm."""
    drive: Literal["left", "right", "both"] = static(default="left")
    """Where rows are driven: "left", "right" or "both" ends."""
    sense: Literal["bottom", "top", "both"] = static(default="bottom")
    """Where columns are sensed at 0 V: "bottom" (last row), "top" or "both" ends."""
    layout: Literal["separate", "interleaved"] = static(default="separate")
    """Devices of a cell: in "separate" arrays, or in "interleaved" columns of one
    array."""

    def __post_init__(self) -> None:
        checks.positive("row", self.row, strictly=False)
        checks.positive("column", self.column, strictly=False)
        for name in ("drive", "sense", "layout"):
            checks.word(name, getattr(self, name), Wires.__annotations__[name])


@pytree
class Solution:
    """Currents and voltages of an array for one or more input vectors."""

    current: Float[JArray, "*batch columns"]
    """Current sensed at each column (sum over its sensed ends), uA; NaN if the solver
    did not converge."""
    voltage: Float[JArray, "*batch rows columns"]
    """Voltage across each cell, V; NaN if the solver did not converge."""
    iterations: JArray
    """Number of iterations, per vector."""


def solve(
    g: Float[JArray, "rows columns"],
    v: Float[JArray, "*batch rows"],
    wires: Wires,
    *,
    tolerance: float | None = None,
    max_iterations: int | None = None,
) -> Solution:
    """Column currents and cell voltages of an array with resistive wires.

    Args:
        g: cell conductances, uS; not negative, exact zeros allowed.
        v: voltages of the row drivers, V.
        wires: resistances and connected ends.
        tolerance: relative residual to stop at; one machine epsilon by default.
        max_iterations: limit on the iterations; the default suffices for every solvable
            circuit.

    Returns:
        A `Solution`; differentiable with respect to `g`, `v` and the resistances, to
        any order.

    Raises:
        ValueError: if shapes do not fit, or conductances are negative (outside traces).
    """
    check_array(g, v)
    flat = v.reshape(-1, v.shape[-1])

    def one(v: JArray) -> tuple:
        source = jnp.broadcast_to(v[:, None], g.shape)
        d, i, count = cells(g, source, wires, limits)
        return jnp.sum(i, axis=0), d, count

    limits = Limits.of(g, tolerance, max_iterations)
    found = mapped(one, flat, g.size)
    current, voltage, count = (x.reshape(*v.shape[:-1], *x.shape[1:]) for x in found)
    return Solution(current=current, voltage=voltage, iterations=count)


def effective_matrix(
    g: Float[JArray, "rows columns"],
    wires: Wires,
    *,
    tolerance: float | None = None,
    max_iterations: int | None = None,
) -> Float[JArray, "rows columns"]:
    """Conductances (uS) of a wire-less array with the same currents: I = v @ result.

    Solved once per row or once per column, whichever are fewer (the circuit is
    reciprocal). Cheaper than `solve` for more than about min(rows, columns) vectors.

    Args:
        g: cell conductances, uS.
        wires: resistances and connected ends.
        tolerance: relative residual to stop at; one machine epsilon by default.
        max_iterations: limit on the iterations; the default suffices for every solvable
            circuit.
    """
    check_array(g, None)
    rows, columns = g.shape
    limits = Limits.of(g, tolerance, max_iterations)
    axis = 0 if rows <= columns else 1

    def one(line: JArray) -> JArray:
        source = jnp.expand_dims(line, 1 - axis)
        source = jnp.broadcast_to(source, g.shape)
        return jnp.sum(cells(g, source, wires, limits)[1], axis=axis)

    lines = jnp.eye(g.shape[axis], dtype=g.dtype)
    found = mapped(one, lines, g.size)
    return found if axis == 0 else found.T


def effective_planes(
    planes: Float[JArray, "rows columns devices"],
    wires: Wires,
    *,
    matrix: Callable[[JArray, Wires], JArray] = effective_matrix,
) -> Float[JArray, "rows columns devices"]:
    """`matrix(g, wires)` of cells with several devices, by `wires.layout`.

    Separate devices form arrays of their own; interleaved devices share their rows and
    occupy neighboring columns, so that row wires are longer by that factor.
    """
    rows, columns, devices = planes.shape
    if wires.layout == "interleaved":
        flat = planes.reshape(rows, columns * devices)
        return matrix(flat, wires).reshape(planes.shape)
    arrays = jnp.moveaxis(planes, 2, 0)
    return jnp.moveaxis(jax.lax.map(lambda g: matrix(g, wires), arrays), 0, 2)


def attenuated_matrix(
    g: Float[JArray, "rows columns"], wires: Wires
) -> Float[JArray, "rows columns"]:
    """A cheap estimate of `effective_matrix`: two ladders per cell, no coupling.

    Each row is solved as a ladder to grounded columns and each column as a ladder to
    grounded rows, exactly; the cell's conductance is multiplied by both attenuations.
    It costs a few passes over the array, is differentiable, and neglects currents that
    leave a column through cells of another row at a raised voltage.

    Measured for cells uniform in 0.25 to 25 uS, inputs uniform in 0 to 1 V, connected
    at one end (benchmarks/wires.py): largest error of an output, relative to the
    largest output, at 0.35 / 1 / 2.5 / 5 Ohm: 64x64 0.006 / 0.04 / 0.25 / 0.9 %;
    128x128 0.08 / 0.5 / 2.4 / 6.3 %; 256x256 1.0 / 4.8 / 12 / 18 %. Neglecting wires,
    the same outputs are off by 1.6 / 4.6 / 12 / 22 %, 5.8 / 16 / 37 / 66 % and 22 / 55
    / 110 / 170 %.
    """
    check_array(g, None)
    x = oriented(g, wires) * MICRO
    row = _ladder(x * wires.row, wires.drive == "both")
    column = _ladder(x.T * wires.column, wires.sense == "both").T
    return g * oriented(row * column, wires)


def _ladder(y: Float[JArray, "wires nodes"], both: bool) -> JArray:
    """Voltage at each node of a ladder driven with 1 V, loads y = r G per node."""
    driven = _one_end(y, jnp.ones(len(y), y.dtype) if both else jnp.zeros_like(y[:, 0]))
    if not both:
        return driven
    return driven + _one_end(y[:, ::-1], jnp.ones(len(y), y.dtype))[:, ::-1]


def _one_end(y: JArray, end: JArray) -> JArray:
    def admittance(beyond: JArray, load: JArray) -> tuple:
        here = load + beyond
        return here / (1 + here), here

    def voltage(before: JArray, here: JArray) -> tuple:
        v = before / (1 + here)
        return v, v

    _, seen = jax.lax.scan(admittance, end, y.T, reverse=True)
    return jax.lax.scan(voltage, jnp.ones_like(end), seen)[1].T


# --- the linear solver --------------------------------------------------------------


@pytree
class Limits:
    """When an iteration stops."""

    tolerance: float = static()
    """Norm of the residual relative to that of the right-hand side."""
    max_iterations: int = static()
    """Limit on the iterations."""

    def __post_init__(self) -> None:
        checks.positive("tolerance", self.tolerance)
        checks.positive("max_iterations", self.max_iterations)

    @classmethod
    def of(
        cls, g: JArray, tolerance: float | None, max_iterations: int | None
    ) -> "Limits":
        """Limits for an array of cells: one machine epsilon, ample iterations.

        In exact arithmetic, no more iterations than cells are needed.
        """
        epsilon, most = float(jnp.finfo(g.dtype).eps), 200 + 4 * g.size
        return cls(
            tolerance=epsilon if tolerance is None else tolerance,
            max_iterations=most if max_iterations is None else max_iterations,
        )


def mapped(solve_one: Callable, vectors: Float[JArray, "n ..."], cells: int) -> Any:
    """`solve_one` for each vector: small arrays in parallel, large ones in sequence.

    In sequence, each vector stops at its own tolerance and its work stays in cache.
    """
    side_by_side = min(SIDE_BY_SIDE // cells, len(vectors))
    size = side_by_side if side_by_side > 1 else None
    return jax.lax.map(solve_one, vectors, batch_size=size)


def oriented(x: Float[JArray, "rows columns"], wires: Wires) -> JArray:
    """Flipped so that node 0 is the driven and sensed end; its own inverse."""
    x = x[:, ::-1] if wires.drive == "right" else x
    return x[::-1] if wires.sense == "bottom" else x


def drop(x: Float[JArray, "rows columns"], shape: tuple, wires: Wires) -> JArray:
    """A @ x: voltage (V) lost to the cell currents `x` (uA, oriented, padded)."""
    rows, columns = shape
    along = wire_sum(x, axis=1, n=columns, both=wires.drive == "both")
    down = wire_sum(x, axis=0, n=rows, both=wires.sense == "both")
    row, column = (jnp.asarray(r, x.dtype) * MICRO for r in (wires.row, wires.column))
    return row * along + column * down


def cells(
    g: Float[JArray, "rows columns"],
    source: Float[JArray, "rows columns"],
    wires: Wires,
    limits: Limits,
) -> tuple[Float[JArray, "rows columns"], Float[JArray, "rows columns"], JArray]:
    """Voltage d (V) and current G d (uA) of each cell, (I + A G) d = source.

    Returns:
        Voltages, currents, and the number of iterations taken.
    """
    rows, columns = g.shape
    pad = [(0, padded(rows) - rows), (0, padded(columns) - columns)]
    inner_g, inner_source = (jnp.pad(oriented(x, wires), pad) for x in (g, source))
    (d, i), count = solve_framed(
        inner_g, inner_source, lambda x: drop(x, (rows, columns), wires), limits
    )
    d, i = (oriented(x[:rows, :columns], wires) for x in (d, i))
    return d, i, count


def solve_framed(
    g: JArray, source: JArray, drop: Callable[[JArray], JArray], limits: Limits
) -> tuple[Float[JArray, "2 rows columns"], JArray]:
    """Voltages and currents on oriented, padded arrays, with implicit derivatives.

    Voltages and currents are one system, d + A i = b and i - G d = q (q = 0). Its
    transpose is the same system with the two unknowns exchanged, and only G occurs in
    it, so that the gradient costs just one more solve.
    """
    s = jnp.sqrt(jax.lax.stop_gradient(g))
    conductance = jax.lax.stop_gradient(g)

    def reduced(b: JArray, q: JArray) -> tuple:
        b = b - jax.lax.cond(jnp.any(q != 0), drop, jnp.zeros_like, q)
        lost, count = _conjugate_gradients(s, b, drop, limits)
        d = b - lost
        return d, q + conductance * d, count

    def forward(_: Any, right: Any) -> tuple:
        d, i, count = reduced(right[0], right[1])
        return jnp.stack([d, i]), count

    def transposed(_: Any, right: Any) -> tuple:
        i, d, count = reduced(right[1], right[0])
        return jnp.stack([d, i]), count

    def system(unknown: JArray) -> JArray:  # one leaf: its derivatives need it whole
        d, i = unknown
        return jnp.stack([d + drop(i), i - g * d])

    right = jnp.stack([source, 0 * source])
    return jax.lax.custom_linear_solve(system, right, forward, transposed, has_aux=True)


def _conjugate_gradients(
    s: JArray, b: JArray, drop: Callable[[JArray], JArray], limits: Limits
) -> tuple[JArray, JArray]:
    """A s u, where (I + s A s) u = s b; no division by s, so open cells are exact.

    No eigenvalue is below 1, so that the error of u is at most the residual, which is
    known to rounding; u itself is s (b - A s u). NaN if that is more than `ACCURACY`.
    """
    size = jnp.max(jnp.abs(b))
    size = jnp.where(size > 0, size, 1)  # squares of small numbers would vanish
    right = s * b / size
    whole = jnp.vdot(right, right)
    stop = limits.tolerance**2 * whole

    def going(state: tuple) -> JArray:
        return (state[3] > stop) & (state[4] < limits.max_iterations)

    def step(state: tuple) -> tuple:
        lost, r, p, size, count = state
        dropped = drop(s * p)
        image = p + s * dropped
        alpha = size / jnp.vdot(p, image)
        r = r - alpha * image
        left = jnp.vdot(r, r)
        return lost + alpha * dropped, r, r + left / size * p, left, count + 1

    start = (jnp.zeros_like(b), right, right, jnp.vdot(right, right), jnp.asarray(0))
    lost, _, _, left, count = jax.lax.while_loop(going, step, start)
    found = right - s * lost
    error = left + (ROUNDING * jnp.finfo(s.dtype).eps) ** 2 * whole
    most = max(ACCURACY, limits.tolerance) ** 2
    known = (left <= stop) & (error <= most * jnp.vdot(found, found))
    return jnp.where(known, size * lost, jnp.nan), count


def check_array(g: JArray, v: JArray | None) -> None:
    """Refuse shapes that do not fit, and (outside traces) negative conductances."""
    if g.ndim != 2 or 0 in g.shape:
        checks.fail("g", "be an array [rows, columns]", g.shape, "One array at a time.")
    checks.positive("g", g, strictly=False)
    if v is None:
        return
    if v.ndim < 1 or v.shape[-1] != g.shape[0]:
        rule = f"have one voltage per row ({g.shape[0]})"
        checks.fail("v", rule, f"shape {v.shape}", "Rows are driven.")
    checks.finite("v", v)
