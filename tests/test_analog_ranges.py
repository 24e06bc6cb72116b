"""Ranges of inputs and ADCs from data, as an output of the function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analog_list import vectors, weights
from flax import nnx

import anajax
from anajax.crossbar import periphery
from anajax.crossbar.periphery import IO, ConstantScale, LearnedRange
from anajax.nn.calibration import calibrate_ranges
from anajax.nn.convert import to_analog
from anajax.transformation import Rule, analog, finished, merged

IO8 = IO(
    scaling=LearnedRange(range=1.0),
    dac=periphery.uniform(8, 1.0),
    adc=periphery.uniform(8, 1.0),
)
RULE = Rule(".*", io=IO8)


def dense(p, x):
    return x @ p["w"]


def coarse(x):
    """What an 8-bit DAC with the right range makes of inputs."""
    bound = jnp.max(jnp.abs(x))
    return jnp.round(x / bound * 127) / 127 * bound


def test_ranges_hold_the_largest_input_and_sum():
    p, x = weights(w=(5, 3)), vectors(40, 5)
    ranges = analog(dense, RULE).calibrate(p, x)
    assert ranges.keys() == {"w"}
    largest = jnp.max(jnp.abs(x))
    np.testing.assert_allclose(ranges["w"]["input"], largest, rtol=1e-6)
    sums = jnp.max(jnp.abs(coarse(x) @ p["w"])) / largest
    np.testing.assert_allclose(ranges["w"]["adc"], sums, rtol=1e-5)


def test_calibrated_hardware_is_near_the_function_and_default_ranges_are_not():
    p, x = weights(w=(5, 3)), 20 * vectors(40, 5)
    f = analog(dense, RULE)
    ranges = f.calibrate(p, x)

    def error(y):
        return jnp.max(jnp.abs(y - dense(p, x))) / jnp.max(jnp.abs(dense(p, x)))

    assert error(f(p, x, ranges=ranges)) < 0.02
    assert error(f(p, x)) > 0.5


def test_calibration_calls_nothing_back():
    """It runs on a machine that has only a GPU; of layers of Flax as well."""
    p, x = weights(w=(3, 5, 5)), vectors(4, 5)

    def layers(p, x):
        return jax.lax.scan(lambda x, w: (x @ w, None), x, p["w"])[0]

    traced = str(jax.make_jaxpr(analog(layers, RULE).calibrate)(p, x))
    assert "scan" in traced and "callback" not in traced
    rnn = nnx.RNN(nnx.SimpleCell(5, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    model = to_analog(rnn, [RULE]).model

    def ranges(x):
        found = calibrate_ranges(model, [x[None]])
        return found.cell.dense_i.analog.input_range[...]

    traced = str(jax.make_jaxpr(ranges)(x))
    assert "scan" in traced and "callback" not in traced


def test_quantiles_leave_outliers_out():
    p, x = weights(w=(5, 3)), vectors(400, 5)
    found = analog(dense, RULE).calibrate(p, x, within=0.9)
    expected = jnp.quantile(jnp.abs(x), 0.9)
    np.testing.assert_allclose(found["w"]["input"], expected, rtol=1e-5)


def test_a_fixed_scale_and_dynamic_scaling():
    p, x = weights(w=(5, 3)), vectors(40, 5)
    fixed = Rule(".*", io=IO(scaling=ConstantScale(value=1.0)))
    found = analog(dense, fixed).calibrate(p, x)
    np.testing.assert_allclose(found["w"]["input"], jnp.max(jnp.abs(x)))
    own = Rule(".*", io=IO(scaling=periphery.AbsMax(), adc=periphery.uniform(8, 1.0)))
    found = analog(dense, own).calibrate(p, x)
    assert found["w"].keys() == {"adc"}
    scaled = x / jnp.max(jnp.abs(x), -1, keepdims=True) @ p["w"]
    np.testing.assert_allclose(found["w"]["adc"], jnp.max(jnp.abs(scaled)), rtol=1e-6)
    assert analog(dense).calibrate(p, x) == {}


def test_layers_of_a_stack_have_their_own_and_steps_share():
    """Also nested, in branches, in loops and in parts of a convolution."""

    def apply(p, x):
        def layer(x, w):
            def step(h, _):
                return h @ p["again"], None

            x = jax.checkpoint(lambda x: 3 * (x @ w))(x)
            return jax.lax.scan(step, x, None, length=2)[0], x

        h, _ = jax.lax.scan(layer, x, p["w"])
        h = jax.lax.cond(h[0, 0] > 1e9, lambda h: h @ p["rare"], lambda h: h + 1, h)
        turn = lambda s: (s[0] + 1, jnp.tanh(s[1] @ p["loop"]))  # noqa: E731
        return jax.lax.while_loop(lambda s: s[0] < 2, turn, (0, h))[1]

    names = {"again": (4, 4), "rare": (4, 4), "loop": (4, 4)}
    p, x = weights(w=(3, 4, 4), **names), vectors(6, 4)
    f = analog(apply, RULE)
    ranges = jax.jit(f.calibrate)(p, x)
    assert {n: r["input"].shape for n, r in ranges.items()} == {
        "w": (3,), "again": (), "rare": (), "loop": (),
    }  # fmt: skip
    expected, largest, h = [], [], x
    for w in p["w"]:
        expected.append(jnp.max(jnp.abs(h)))
        h = 3 * (h @ w)
        for _ in range(2):
            largest.append(jnp.max(jnp.abs(h)))
            h = h @ p["again"]
    np.testing.assert_allclose(ranges["w"]["input"], jnp.stack(expected), rtol=1e-5)
    np.testing.assert_allclose(ranges["again"]["input"], max(largest), rtol=1e-5)
    assert ranges["rare"]["input"] == 1  # met no input
    inputs = max(jnp.max(jnp.abs(h + 1)), 1)
    np.testing.assert_allclose(ranges["loop"]["input"], inputs, rtol=1e-5)
    y, exact = jax.jit(f)(p, x, ranges=ranges), apply(p, x)
    np.testing.assert_allclose(y, exact, atol=0.1)


def test_ranges_are_learned_each_by_itself():
    def layers(p, x):
        return jax.lax.scan(lambda x, w: (x @ w, None), x, p["w"])[0]

    p, x = weights(w=(3, 4, 4)), vectors(6, 4)
    f = analog(layers, RULE)
    ranges = jax.tree.map(lambda r: r / 2, f.calibrate(p, x))
    grads = jax.grad(lambda r: jnp.sum(f(p, x, ranges=r)))(ranges)
    assert jax.tree.map(jnp.shape, grads) == {"w": {"input": (3,), "adc": (3,)}}
    assert all(jnp.all(g != 0) for g in grads["w"].values())


def test_parts_of_a_convolution_share():
    def conv(p, x):
        return jax.lax.conv(x, p["w"], (1, 1), "SAME")

    p, x = weights(w=(2, 1, 3, 3)), vectors(4, 1, 5, 5)
    parts = Rule(".*", io=IO8, patches=300)
    found, whole = (
        jax.jit(analog(conv, rule).calibrate)(p, x) for rule in (parts, RULE)
    )
    np.testing.assert_allclose(found["w"]["input"], jnp.max(jnp.abs(x)))
    np.testing.assert_allclose(found["w"]["adc"], whole["w"]["adc"], rtol=0.02)


def test_wrong_shares_and_sites_are_refused():
    p, x = weights(w=(5, 3)), vectors(4, 5)
    f = analog(dense, RULE)
    with pytest.raises(ValueError, match="`within` must lie in"):
        f.calibrate(p, x, within=0.0)
    with pytest.raises(ValueError, match="`ranges` must belong to sites: got 'v'"):
        f(p, x, ranges={"v": {}})


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_eight_bits_in_one_line_suit_weights_and_inputs_of_any_size(size):
    """The error is that of rounding inputs and sums to 127 steps of their largest."""
    p, x = weights(w=(64, 32)), vectors(20, 64) / size
    p = {"w": p["w"] * size}
    f = analog(dense, Rule(".*", io=periphery.bits(dac=8, adc=8)))
    y, exact = f(p, x), dense(p, x)
    scale = jnp.max(jnp.abs(x), -1, keepdims=True)
    sums = jnp.round(x / scale * 127) / 127 @ p["w"]
    step = jnp.max(jnp.abs(sums), -1, keepdims=True) / 127
    np.testing.assert_allclose(y, jnp.round(sums / step) * step * scale, rtol=1e-4)
    assert 1e-3 < jnp.linalg.norm(y - exact) / jnp.linalg.norm(exact) < 0.02
    four = analog(dense, Rule(".*", io=periphery.bits(4, 4)))(p, x)
    assert jnp.linalg.norm(four - exact) > 10 * jnp.linalg.norm(y - exact)


def test_calibration_gives_self_ranging_adcs_one_range():
    p, x = weights(w=(5, 3)), vectors(40, 5)
    f = analog(dense, Rule(".*", io=periphery.bits()))
    ranges = f.calibrate(p, x)
    fixed = periphery.bits(adc_range=ranges["w"]["adc"])
    expected = analog(dense, Rule(".*", io=fixed))(p, x)
    np.testing.assert_allclose(f(p, x, ranges=ranges), expected, rtol=1e-6)
    assert jnp.any(f(p, x) != expected)


def test_eight_bits_in_one_line_for_layers_of_flax():
    model, x = nnx.Linear(16, 8, rngs=nnx.Rngs(0)), vectors(20, 16)
    hardware = to_analog(model, [anajax.Rule(".*", io=anajax.periphery.bits())]).model
    for one in (hardware, calibrate_ranges(hardware, [x])):
        error = jnp.linalg.norm(one(x) - model(x)) / jnp.linalg.norm(model(x))
        assert 1e-3 < error < 0.02
    assert calibrate_ranges(hardware, [x]).analog.periphery().adc.steps == 254


# --- padding, batches, devices ------------------------------------------------------


def same(a, b, tolerance=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance), a, b)


LENGTHS = np.array([5, 2, 4])
MASK = np.arange(5) < LENGTHS[:, None]


def padded(shape=(3, 5, 4)):
    """Inputs `[items steps features]` that are large where they are padded."""
    return jnp.where(MASK[..., None], vectors(*shape), 100.0)


@pytest.mark.parametrize("share", [1.0, 0.9])
def test_padded_inputs_do_not_count(share):
    """Ranges are those of the valid steps alone, through layers and a pooled head."""

    def apply(p, x, mask):
        h = jnp.tanh(x @ p["w"])
        return jnp.sum(jnp.where(mask[..., None], h, 0), 1) @ p["head"]

    p, x = weights(w=(4, 6), head=(6, 2)), padded()
    f = analog(apply, RULE)
    how = {"within": share, "outputs": share}
    found = f.calibrate(p, x, MASK, mask=MASK, **how)
    short = x[MASK][:, None]
    steps = analog(lambda p, x: x @ p["w"], RULE).calibrate(p, short, **how)
    same(found["w"], steps["w"])
    assert found["w"]["input"] < 5 < f.calibrate(p, x, MASK)["w"]["input"]
    assert found["head"]["input"] <= 5  # of whole items
    reached = jnp.quantile(jnp.abs(x[MASK]), share)
    np.testing.assert_allclose(found["w"]["input"], reached, rtol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_padded_steps_of_a_recurrence_do_not_count(reverse):
    """Steps-first in a scan: the mask's steps are those of the loop."""

    def apply(p, x):
        def step(h, x):
            return jnp.tanh(x @ p["w"]) + 0 * h, None

        x = jnp.swapaxes(x, 0, 1)
        return jax.lax.scan(step, jnp.zeros((3, 6)), x, reverse=reverse)[0]

    p, x = weights(w=(4, 6)), padded()
    found = analog(apply, RULE).calibrate(p, x, mask=MASK)
    largest = jnp.max(jnp.abs(x[MASK]))
    np.testing.assert_allclose(found["w"]["input"], largest, rtol=1e-6)


def test_a_mask_that_fits_nothing_is_refused_and_failures_are_seen():
    p, x = weights(w=(4, 6)), padded()
    f = analog(dense, RULE)
    with pytest.raises(ValueError, match="`mask` must begin as the activation"):
        f.calibrate(p, x, mask=np.ones((7, 5)))
    bad = x.at[0, 0, 0].set(jnp.nan)
    with pytest.raises(ValueError, match="must be finite"):
        f.calibrate(p, bad, mask=MASK)
    found = jax.jit(lambda x: f.calibrate(p, x, mask=MASK))(bad)
    assert not jnp.isfinite(found["w"]["input"])
    assert jnp.isfinite(f.calibrate(p, x.at[1, 3].set(jnp.nan), mask=MASK)["w"]["adc"])
    none = f.calibrate(p, x, mask=np.zeros((3, 5)))
    same(none, {"w": {"input": 1.0, "adc": 1.0}})


def test_batches_together_are_one_batch_and_may_move():
    def apply(p, x):
        h = x @ p["w"]
        return jax.lax.cond(h[0, 0] > 1, lambda h: h @ p["rare"], lambda h: h, h)

    p, x = weights(w=(5, 3), rare=(3, 3)), 0.1 * vectors(40, 5)
    f = analog(apply, RULE)
    parts = [f.observe(p, part) for part in (x[:10], x[10:])]
    whole, both = f.calibrate(p, x), finished(merged(*parts))
    same(whole["w"]["input"], both["w"]["input"])
    same(whole["w"]["adc"], both["w"]["adc"], 0.02)  # coarser for the smaller range
    assert both["rare"] == {"input": 1, "adc": 1}
    late = f.observe({**p, "w": p["w"] + 50}, jnp.abs(x))
    assert finished(merged(parts[0], late))["rare"]["input"] > 1  # met by one alone
    assert finished(merged(late, parts[0]))["rare"]["input"] > 1
    moving = merged(*parts, moving=0.25)["w"]["input"]
    a, b = (part["w"]["input"] for part in parts)
    np.testing.assert_allclose(moving, 0.75 * a + 0.25 * b, rtol=1e-6)
    alone = merged(parts[0], late, moving=0.25)["rare"]["input"]
    assert alone == late["rare"]["input"]
    with pytest.raises(ValueError, match="`moving` must lie in"):
        merged(*parts, moving=0.0)


@pytest.mark.parametrize("way", ["around", "inside", "sharded", "explicit"])
def test_ranges_of_all_devices(way):
    kind = "Explicit" if way == "explicit" else "Auto"
    kinds = (getattr(jax.sharding.AxisType, kind),)
    mesh = jax.make_mesh((1,), ("items",), axis_types=kinds)
    spec = jax.sharding.PartitionSpec
    p, x = weights(w=(5, 3)), vectors(8, 5)
    f, expected = analog(dense, RULE), analog(dense, RULE).calibrate(p, x)

    def mapped(f, out):
        specs = (spec(), spec("items"))
        return jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=out)

    if way == "around":
        one = lambda p, x: f.calibrate(p, x, over="items")  # noqa: E731
        found = jax.jit(mapped(one, spec()))(p, x)
    elif way == "inside":
        found = jax.jit(analog(mapped(dense, spec("items")), RULE).calibrate)(p, x)
    else:
        with jax.set_mesh(mesh):
            shard = jax.sharding.NamedSharding(mesh, spec("items"))
            found = jax.jit(f.calibrate)(p, jax.device_put(x, shard))
    same(found, expected)
