"""Designs and indices: the path of the network studies, on functions with answers."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from anajax.analysis.designs import indices, make_design
from anajax.analysis.points import over_points

pytest.importorskip("SALib")
BOX = [(-np.pi, np.pi)] * 3
NAMES = ("a", "b", "c")


def ishigami(x, shared):
    a, b = shared
    wave = jnp.sin(x[0])
    return wave + a * jnp.sin(x[1]) ** 2 + b * x[2] ** 4 * wave


@pytest.mark.parametrize(("method", "samples"), [("sobol", 1024), ("morris", 40)])
def test_ishigami_has_the_indices_of_salib(method, samples):
    """As by SALib's own function, in one trace; and near the exact shares."""
    from SALib.analyze import morris, sobol
    from SALib.test_functions import Ishigami

    chex.clear_trace_counter()
    design = make_design(method, NAMES, BOX, samples, seed=3)
    function = chex.assert_max_traces(ishigami, n=1)
    y = over_points(function, design.points, (7.0, 0.1), chunk=100)
    reference = Ishigami.evaluate(design.points)
    np.testing.assert_allclose(y, reference, atol=2e-5)
    found = indices(design, y)
    if method == "morris":
        same = morris.analyze(
            design.problem, design.points, reference, num_levels=4, seed=4
        )
        np.testing.assert_allclose(found.total, same["mu_star"], rtol=1e-4)
        np.testing.assert_allclose(found.spread, same["sigma"], rtol=1e-4)
        return
    same = sobol.analyze(
        design.problem, reference, calc_second_order=False, conf_level=0.9,
        num_resamples=500, seed=4,
    )  # fmt: skip
    np.testing.assert_allclose(found.first, same["S1"], atol=1e-5)
    np.testing.assert_allclose(found.total, same["ST"], atol=1e-5)
    np.testing.assert_allclose(found.total_error, same["ST_conf"], rtol=1e-3)
    exact = np.array([0.3139, 0.4424, 0.0]), np.array([0.5576, 0.4424, 0.2437])
    assert np.all(np.abs(found.first - exact[0]) < 2 * found.first_error)
    assert np.all(np.abs(found.total - exact[1]) < 2 * found.total_error)


def test_a_latin_hypercube_has_a_point_in_every_stratum():
    design = make_design("latin", ("a", "b"), [(0, 1), (2, 3)], 50)
    assert np.all((design.points >= [0, 2]) & (design.points <= [1, 3]))
    assert len(np.unique(np.floor(50 * design.points[:, 0]))) == 50


def test_a_constant_output_has_no_sensitivity():
    design = make_design("sobol", NAMES, BOX, 4)
    found = indices(design, np.ones(len(design.points)))
    assert np.all(found.total == 0)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(method="best"), "method"),
        (dict(samples=48), "samples"),
        (dict(bounds=[(1, 0)] * 3), "bounds"),
    ],
)
def test_bad_designs_are_named(changes, match):
    args = dict(method="sobol", bounds=BOX, samples=8) | changes
    with pytest.raises(ValueError, match=match):
        make_design(args["method"], NAMES, args["bounds"], args["samples"])
