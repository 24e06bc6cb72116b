"""Designs of experiments, and global sensitivity indices of their results.

Designs and indices are computed by SALib: Sobol's variance-based indices (total index
by Jansen, first order by Saltelli), Morris' elementary effects, Latin hypercubes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from anajax._core import checks

Method = Literal["sobol", "morris", "latin"]
METHODS = get_args(Method)
CONFIDENCE = 0.9
"""Confidence level of all intervals."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
    """Points at which a function is evaluated."""

    method: str
    """One of `METHODS`."""
    names: tuple[str, ...]
    """Names of the coordinates."""
    bounds: np.ndarray
    """Lower and upper end of each coordinate `[names 2]`."""
    points: np.ndarray
    """`[points names]`."""
    seed: int
    """Seed of the design and of the bootstrap of its indices."""

    @property
    def problem(self) -> dict[str, Any]:
        """The problem in the format of SALib."""
        return {
            "num_vars": len(self.names),
            "names": list(self.names),
            "bounds": self.bounds.tolist(),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Indices:
    """Sensitivity of an output to each coordinate, with half-widths of intervals."""

    first: np.ndarray
    """Sobol: first-order index, the share of the variance that a coordinate explains
    alone. Morris: mean elementary effect."""
    first_error: np.ndarray
    """Half-width of its interval; NaN for Morris."""
    total: np.ndarray
    """Sobol: total index, including interactions. Morris: mean |effect|."""
    total_error: np.ndarray
    """Half-width of its interval."""
    spread: np.ndarray
    """Morris: standard deviation of the effects. NaN for Sobol."""


def make_design(
    method: Method,
    names: Sequence[str],
    bounds: Sequence[tuple[float, float]] | np.ndarray,
    samples: int,
    *,
    seed: int = 0,
) -> Design:
    """A design in a box.

    Args:
        method: "sobol" (`samples (names + 2)` points), "morris" (`samples` trajectories
            of `names + 1` points, 4 levels) or "latin" (`samples` points).
        names: names of the coordinates.
        bounds: bounds of each coordinate.
        samples: base samples, trajectories or points; a power of 2 for Sobol.
        seed: seed of the design.

    Raises:
        ModuleNotFoundError: if SALib is missing.
        ValueError: if an argument is out of range.
    """
    _check(method, names, np.asarray(bounds), samples)
    _require_salib()
    salib_seed = seed + 1  # SALib takes 0 for none
    from SALib.sample import latin, morris, sobol

    made = Design(
        method=method,
        names=tuple(names),
        bounds=np.asarray(bounds, float),
        points=np.empty(0),
        seed=seed,
    )
    if method == "sobol":
        points = sobol.sample(
            made.problem, samples, calc_second_order=False, seed=salib_seed
        )
    elif method == "morris":
        points = morris.sample(
            made.problem, samples, num_levels=_LEVELS, seed=salib_seed
        )
    else:
        points = latin.sample(made.problem, samples, seed=salib_seed)
    return dataclasses.replace(made, points=np.asarray(points, float))


def indices(design: Design, y: np.ndarray) -> Indices:
    """Sensitivity indices of one output of a design, by SALib, with 90 % intervals.

    A constant output has indices 0.

    Args:
        design: a "sobol" or "morris" design.
        y: the output at all points `[points]`.

    Raises:
        ValueError: if the output is not finite, or the design has no indices.
    """
    if design.method not in ("sobol", "morris"):
        remedy = "Use one of these."
        checks.fail("design", "be of sobol or morris", design.method, remedy)
    checks.finite("y", y)
    y = np.asarray(y, float)
    none = np.full(len(design.names), np.nan)
    if np.ptp(y) == 0:
        zero = np.zeros(len(design.names))
        return Indices(
            first=zero, first_error=zero, total=zero, total_error=zero, spread=zero
        )
    from SALib.analyze import morris, sobol

    options = {"conf_level": CONFIDENCE, "num_resamples": 500}
    options["seed"] = design.seed + 1  # SALib takes 0 for none
    if design.method == "sobol":
        s = sobol.analyze(design.problem, y, calc_second_order=False, **options)
        return Indices(
            first=s["S1"],
            first_error=s["S1_conf"],
            total=s["ST"],
            total_error=s["ST_conf"],
            spread=none,
        )
    s = morris.analyze(design.problem, design.points, y, num_levels=_LEVELS, **options)
    return Indices(
        first=np.asarray(s["mu"], float),
        first_error=none,
        total=np.asarray(s["mu_star"], float),
        total_error=np.asarray(s["mu_star_conf"], float),
        spread=np.asarray(s["sigma"], float),
    )


_LEVELS = 4


def _check(
    method: Method, names: Sequence[str], bounds: np.ndarray, count: int
) -> None:
    checks.word("method", method, Method)
    if bounds.shape != (len(names), 2) or np.any(bounds[:, 0] >= bounds[:, 1]):
        rule = f"be {len(names)} pairs that increase"
        checks.fail("bounds", rule, bounds.tolist(), "Give a low and a high end each.")
    if count < 2 or (method == "sobol" and count & (count - 1)):
        rule = "be a power of 2" if method == "sobol" else "be at least 2"
        checks.fail("samples", rule, count, "Use 64.")


def _require_salib() -> None:
    try:
        import SALib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Designs and global indices are those of SALib, which is not installed. "
            "Install it: pip install 'anajax[studies]'."
        ) from error
