"""`to_analog` gives what it gave when layers had classes of their own, to 1e-6."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from door_cases import (
    CHIPS,
    DEVICE,
    FILE,
    IMAGES,
    KEYS,
    NOISY,
    QUIET,
    Flat,
    cases,
    noise,
    outputs,
    ranges,
    with_drawn,
)

from anajax.nn.convert import functional
from anajax.transformation import analog

CASES = cases()
SLOW = {n for n in CASES if n.endswith("/ideal")}  # `test_nn` has them, too
SLOW |= {"optimized_lstm/steps", "gru/steps", "simple/steps"}


@pytest.fixture(scope="module")
def before():
    """What was recorded, by case and array."""
    found = {}
    with np.load(FILE) as arrays:
        for name in arrays.files:
            case, kind = name.split("|")
            found.setdefault(case, {})[kind] = arrays[name]
    return found


def same(got, expected):
    assert got.keys() == expected.keys()
    for kind, value in expected.items():
        scale = np.max(np.abs(value), initial=1)
        np.testing.assert_allclose(
            got[kind], value, rtol=1e-6, atol=1e-6 * scale, err_msg=kind
        )


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES]
)
def test_outputs_and_gradients(name, before):
    same(outputs(*CASES[name]), before[name])


def test_calibrated_ranges(before):
    same(ranges(), before["ranges"])


@pytest.mark.parametrize("name", NOISY)
def test_noise_has_equal_mean_and_spread(name, before):
    assert_equal_noise(noise(NOISY[name], jr.key(7)), before[f"noise/{name}"])


def assert_equal_noise(got, expected):
    sd = expected["sd"]
    error = np.sqrt(2 / KEYS) * sd
    assert np.max(np.abs(got["mean"] - expected["mean"]) / error) < 5
    assert np.max(np.abs(got["sd"] / sd - 1)) < 5 * np.sqrt(2 / 2 / KEYS)


@pytest.mark.parametrize("name", CHIPS)
def test_networks_on_a_chip(name, before):
    """`put_on_chip` gives what the layers gave with the cells of this chip."""
    rule, combine, build, read, scope = CHIPS[name]
    device = DEVICE if read else QUIET
    params, apply = functional(with_drawn(Flat()))
    f, key = analog(apply, rule), jr.key(3)

    @jax.jit
    def run(x):
        part = f.put_on_chip(
            params, x, device=device, strategy=build(device), key=key,
            scope=scope, combine=combine,
        ).at(3600.0)  # fmt: skip
        if not read:
            return f(part, x)
        ys = jax.lax.map(lambda k: f(part, x, key=k), jr.split(jr.key(8), KEYS))
        return jnp.mean(ys, 0), jnp.std(ys, 0)

    if not read:
        return same({"y": run(IMAGES)}, before[name])
    mean, sd = run(IMAGES)
    assert_equal_noise({"mean": mean, "sd": sd}, before[name])
