"""A layer of your own: a function of arrays, then studies know its products.

This one is a recurrent cell of no library, scanned over time, with a low-rank weight
and a gate. Nothing says which of its parameters lie on tiles or what their axes are:
their products do.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import anajax
from anajax import devices, periphery, strategies
from anajax.studies.report.report import write_report

SIZES = {"down": (12, 4), "up": (4, 24), "read_in": (5, 24), "head": (12, 3)}


def layer(p, x):
    """`[batch time features]` to `[batch hidden]`."""

    def step(h, x):
        value, gate = jnp.split(x @ p["read_in"] + h @ p["down"] @ p["up"], 2, -1)
        gate = jax.nn.sigmoid(gate + p["bias"])
        return gate * h + (1 - gate) * jnp.tanh(value), None

    start = jnp.zeros((x.shape[0], 12), x.dtype)
    return jax.lax.scan(step, start, jnp.swapaxes(x, 0, 1))[0]


def apply(p, x):
    return layer(p, x) @ p["head"]


@pytest.fixture(scope="module")
def params():
    keys = jr.split(jr.key(3), len(SIZES))
    each = zip(SIZES.items(), keys, strict=True)
    drawn = {n: jr.normal(k, s) / np.sqrt(s[0]) for (n, s), k in each}
    return drawn | {"bias": jnp.ones(12)}


@pytest.fixture(scope="module")
def x():
    return jr.normal(jr.key(5), (40, 6, 5))


def test_its_products_say_what_lies_on_tiles(params, x):
    report = anajax.analog(apply).report(params, x)
    found = {p.path: (p.rows, p.columns) for p in report.analog}
    assert found == SIZES  # and the bias stays digital
    assert [p.path for p in report.parameters if not p.sites] == ["bias"]


def test_on_ideal_hardware_it_is_itself(params, x):
    ideal = anajax.analog(apply)(params, x)
    np.testing.assert_allclose(ideal, apply(params, x), atol=1e-5)


def test_behind_converters_it_learns(params, x):
    """Gradients go through converters into its parameters."""
    rule = anajax.Rule(".*", io=periphery.bits(6, 6))
    hardware = anajax.analog(apply, rule)
    off = hardware(params, x) - apply(params, x)
    assert 1e-4 < float(jnp.abs(off).max()) < 1
    slope = jax.grad(lambda p: jnp.sum(hardware(p, x) ** 2))(params)
    assert all(np.any(v != 0) and np.all(np.isfinite(v)) for v in slope.values())


def test_its_weights_go_on_chips(params, x):
    device = devices.state_independent()
    select = anajax.analog(apply).report(params, x)
    worn = anajax.perturb(
        params, device, strategies.lsp_first(device), t=3600.0, key=jr.key(1),
        select=select,
    )  # fmt: skip
    assert all(np.any(worn[name] != params[name]) for name in SIZES)
    assert np.array_equal(worn["bias"], params["bias"])


@pytest.mark.slow
def test_a_study_runs_on_it(params, x, tmp_path):
    """With converters and raw cells: read noise is fresh at each step of the scan."""
    work = anajax.workload(apply, params, x, jnp.argmax(apply(params, x), -1))
    asked = {
        "study": "strategies", "device": {"name": "pcm"}, "times": ["1 h"], "chips": 2,
        "strategies": ["lsp_first"], "compensation": {"through": "periphery"},
        "periphery": {"dac_bits": 8, "adc_bits": 8, "rows": 16, "columns": 16},
    }  # fmt: skip
    data = anajax.run(asked, workload=work, out=tmp_path / "a")
    assert 0.02 < float(data.weight_rms_error.sel(strategy="lsp_first").mean()) < 0.2
    page = write_report(tmp_path / "a").read_text(encoding="utf-8")
    assert "read noise for each input vector" in " ".join(page.split())
