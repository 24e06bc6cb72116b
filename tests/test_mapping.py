"""Unit cells and strategies: exact on ideal hardware, equal to another simulator."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shared import oracle

from anajax import devices
from anajax._core.tree import replace
from anajax.mapping import hand as strategies
from anajax.mapping.strategy import (
    Strategy,
    UnitCell,
    canonical,
    decode,
    encode,
    interpolation,
    pairs,
    resample,
    singles,
)

IDEAL = devices.ideal(g_min=0.5, g_max=20.0)
BUILT = {
    "single_pair": strategies.single_pair(IDEAL),
    "single_pair_k": strategies.single_pair(IDEAL, k=0.7),
    "lsp_2": strategies.lsp_first(IDEAL),
    "lsp_4_1.5": strategies.lsp_first(IDEAL, f=[4.0, 1.5], k=0.9),
    "msp_3": strategies.msp_first(IDEAL, f=3.0),
    "equal": strategies.equal_split(IDEAL),
    "equal_3": strategies.equal_split(IDEAL, f=[3.0, 2.0]),
    "offset": strategies.offset_device(IDEAL),
    "offset_uneven": strategies.offset_device(IDEAL, low=-1.0, high=1.3),
}


@pytest.mark.parametrize("name", BUILT)
def test_decode_inverts_encode_on_ideal_hardware(name):
    u = jnp.linspace(-1, 1, 201).reshape(3, 67)
    g = encode(BUILT[name], u)
    assert g.shape == (3, 67, BUILT[name].cell.devices)
    assert float(g.min()) >= 0.5 - 1e-6 and float(g.max()) <= 20 + 1e-5
    np.testing.assert_allclose(decode(BUILT[name], g), u, atol=1e-6)


def test_scale_above_range_clips_the_largest():
    s = strategies.lsp_first(IDEAL, f=2.0, k=1.25)
    u = jnp.linspace(-1, 1, 101)
    w = decode(s, encode(s, u))
    np.testing.assert_allclose(w, jnp.clip(u, -0.8, 0.8), atol=1e-6)


def test_fill_orders_are_what_their_names_say():
    u = jnp.array([0.2])
    lsp, msp = (f(IDEAL, f=2.0) for f in (strategies.lsp_first, strategies.msp_first))
    span = 19.5
    np.testing.assert_allclose(encode(lsp, u)[0], [0.5, 0.5, 0.5 + 0.6 * span, 0.5])
    np.testing.assert_allclose(encode(msp, u)[0], [0.5 + 0.3 * span, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(encode(msp, -u)[0], [0.5, 0.5 + 0.3 * span, 0.5, 0.5])


def test_interpolation_matrix_is_encode():
    s = BUILT["lsp_4_1.5"]
    u = jnp.linspace(0, 1, 33)
    np.testing.assert_allclose(interpolation(s, u) @ s.targets, encode(s, u), rtol=1e-6)


def test_canonical_and_resample_keep_the_weights():
    s = BUILT["lsp_2"]
    swapped = replace(
        s,
        targets=s.targets[:, jnp.array([2, 3, 0, 1])],
        significance=jnp.array([0.5, 1.0]),
        scale=s.scale / 2,
    )
    back = canonical(swapped)
    np.testing.assert_allclose(back.targets, s.targets)
    np.testing.assert_allclose(back.significance, s.significance)
    u = jnp.linspace(-1, 1, 51)
    fine = resample(s, np.linspace(0, 1, 31))
    np.testing.assert_allclose(decode(fine, encode(fine, u)), u, atol=1e-6)


def test_converters_of_another_simulator():
    """Conductances within 2e-5 uS, scale 1e-6, weights back within 1e-6."""
    z = np.load(oracle("converters.npz"))
    cases = json.loads(str(z["cases"]))
    seen = 0
    for name in cases:
        config = json.loads(str(z[f"{name}/config"]))
        for vector, suffix in ((z["w"], "w"), (z["w_small"], "w_small")):
            strategy, w_max = build_oracle(config, vector)
            g = encode(strategy, jnp.asarray(vector / w_max))
            np.testing.assert_allclose(g.T, z[f"{name}/G_{suffix}"], atol=2e-5)
            k = float(strategy.scale) / w_max
            expected = float(z[f"{name}/k_{suffix}"])
            assert abs(k / expected - 1) < 1e-6
            back = decode(strategy, g) * w_max
            np.testing.assert_allclose(back, z[f"{name}/back_{suffix}"], atol=1e-6)
            seen += 1
    assert seen == 2 * len(cases) > 0


def build_oracle(config, vector):
    """The strategy of a case, its devices in the order G1+, G1-, G2+, ..."""
    w_max = float(np.abs(vector).max())
    if config["kind"] == "single_device":
        device = devices.ideal(g_min=config["g_min"], g_max=config["g_max"])
        low, high = vector.min() / w_max, vector.max() / w_max
        return strategies.offset_device(device, low=low, high=high), w_max
    f = np.array(config["f"])
    if config["kind"] == "custom":
        g = np.array(config["g"]).T
        scale = float((g[-1].reshape(-1, 2) @ [1, -1]) @ f)
        return (
            Strategy(
                cell=pairs(f.size),
                knots=np.linspace(-1, 1, len(g)),
                targets=g,
                significance=f,
                scale=scale,
                mirrored=False,
            ),
            w_max,
        )
    device = devices.ideal(g_min=config["g_min"], g_max=config["g_max"])
    if f.size == 1:
        return strategies.single_pair(device), w_max
    filled = strategies.lsp_first(device, f=f[:0:-1].copy())
    rows = filled.targets.reshape(f.size + 1, -1, 2)[:, ::-1]
    return (
        replace(
            filled,
            targets=rows.reshape(f.size + 1, -1),
            significance=filled.significance[::-1],
        ),
        w_max,
    )


BAD = {
    "knots": (dict(knots=[0.0, 0.5, 0.5]), "knots.*increase"),
    "nan": (dict(targets=[[0.0, 0.0], [float("nan"), 0.0], [2.0, 0.0]]), "finite"),
    "shape": (dict(targets=[[0.0, 0.0], [1.0, 0.0]]), "targets.*shape"),
    "falling": (
        dict(targets=[[0.0, 0.0], [2.0, 0.0], [1.0, 0.0]]),
        "decode to increasing weights",
    ),
    "scale": (dict(scale=0.0), "scale.*positive"),
    "mirror": (
        dict(cell=singles(), targets=[[0.0], [1.0], [2.0]]),
        "mirrored.*False",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_refused(name):
    good = dict(
        cell=pairs(1),
        knots=[0.0, 0.5, 1.0],
        targets=[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]],
        significance=[1.0],
        scale=2.0,
    )
    Strategy(**good)
    changes, match = BAD[name]
    with pytest.raises(ValueError, match=match):
        Strategy(**(good | changes))


def test_bad_cells_are_refused():
    with pytest.raises(ValueError, match="signs"):
        UnitCell(signs=(1, 0), groups=(0, 0))
    with pytest.raises(ValueError, match="groups"):
        UnitCell(signs=(1, -1), groups=(0,))
    with pytest.raises(ValueError, match="count"):
        pairs(0)


def test_hand_strategies_are_differentiable_in_f_and_k():
    u = jnp.array([0.1, 0.45, 0.9])

    def f(f_, k):
        s = strategies.lsp_first(IDEAL, f=f_, k=k)
        return jnp.sum(encode(s, u) ** 2)

    with jax.enable_x64(True):
        grads = jax.grad(f, argnums=(0, 1))(2.3, 0.8)
        h = 1e-6
        for i, g in enumerate(grads):
            lo, hi = [2.3, 0.8], [2.3, 0.8]
            lo[i] -= h
            hi[i] += h
            numeric = (f(*hi) - f(*lo)) / (2 * h)
            np.testing.assert_allclose(g, numeric, rtol=1e-6)
