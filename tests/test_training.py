import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from anajax import chip, devices, training
from anajax._core.tree import Arrays
from anajax.analysis.expected import uniform
from anajax.mapping import hand as strategies
from anajax.mapping.density import from_weights
from anajax.mapping.layout import Layout
from anajax.mapping.weight_error import moment_table
from anajax.mapping.weight_table import weight_table
from anajax.training import loop
from anajax.workloads.language import Llama
from anajax.workloads.language.llama import KERNELS, stacked

TIMES = [60.0, 86400.0]


@pytest.fixture
def params():
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.3, (40, 30)).astype(np.float32)
    return {"dense": {"kernel": jnp.asarray(weights), "bias": jnp.ones(30)}}


def test_gaussian_noise_has_its_deviation_and_a_straight_gradient(params, key):
    noise = training.gaussian_noise(0.1)
    noisy = jax.jit(noise)(params, key, 0.5)
    difference = (noisy["dense"]["kernel"] - params["dense"]["kernel"]).ravel()
    sd = 0.05 * float(jnp.max(jnp.abs(params["dense"]["kernel"])))
    n = difference.size
    assert abs(difference.std() - sd) < 4 * sd / np.sqrt(2 * n)
    assert abs(difference.mean()) < 4 * sd / np.sqrt(n)
    assert jnp.all(noisy["dense"]["bias"] == 1)
    grads = jax.grad(lambda p: jnp.sum(noise(p, key)["dense"]["kernel"] ** 2))(params)
    np.testing.assert_allclose(
        grads["dense"]["kernel"], 2 * noise(params, key)["dense"]["kernel"], rtol=1e-5
    )


def test_weights_of_numpy_in_double_precision_take_the_type_of_jax(params, key):
    noise = training.gaussian_noise(0.1)
    double = jax.tree.map(lambda v: np.asarray(v, np.float64), params)
    found, want = noise(double, key), noise(params, key)
    assert found["dense"]["kernel"].dtype == jnp.float32
    np.testing.assert_allclose(
        found["dense"]["kernel"], want["dense"]["kernel"], rtol=1e-6
    )


def test_moment_matched_noise_agrees_with_every_device_drawn(params, key):
    device = devices.pcm()
    strategy = strategies.lsp_first(device)
    drawn = []
    for exact in (False, True):
        noise = training.device_noise(device, strategy, TIMES[1:], exact=exact)
        keys = jr.split(key, 8)
        many = jax.jit(lambda ks, n=noise: jax.lax.map(lambda k: n(params, k), ks))
        w = many(keys)["dense"]["kernel"] - params["dense"]["kernel"]
        drawn.append((float(w.mean()), float(w.std()), w.size))
    (mean_a, sd_a, n), (mean_b, sd_b, _) = drawn
    assert abs(mean_a - mean_b) < 5 * sd_b * np.sqrt(2 / n)
    assert sd_b > 0.005 and abs(sd_a / sd_b - 1) < 0.03


def test_device_noise_is_fresh_for_each_key_and_fades_with_strength(params, key):
    device = devices.pcm()
    noise = training.device_noise(device, strategies.lsp_first(device), TIMES)
    run = jax.jit(noise)
    quiet = run(params, key, 0.0)
    np.testing.assert_array_equal(quiet["dense"]["kernel"], params["dense"]["kernel"])
    full = [run(params, k, 1.0)["dense"]["kernel"] for k in jr.split(key, 8)]
    assert len({float(w[0, 0]) for w in full}) == 8


@pytest.mark.slow
def test_columns_may_fill_the_range_in_training(params, key):
    scale = jnp.linspace(0.1, 1, params["dense"]["kernel"].shape[-1])
    scaled = chip.insert(params, {"dense/kernel": params["dense"]["kernel"] * scale})
    pcm = devices.pcm()
    noise = training.device_noise(
        pcm, strategies.lsp_first(pcm), [1e5], normalize="column"
    )
    one, two = (noise(p, key)["dense"]["kernel"] for p in (params, scaled))
    assert jnp.std(one - params["dense"]["kernel"]) > 0.001
    np.testing.assert_allclose(two, one * scale, rtol=1e-4, atol=1e-6)


def test_noise_ramp():
    ramp = training.noise_ramp(10, start=0.2, peak=1.0, hold=5)
    got = [float(ramp(i)) for i in (0, 5, 10, 15, 99)]
    np.testing.assert_allclose(got, [0.2, 0.2, 0.6, 1.0, 1.0], rtol=1e-6)


def test_clipped_weights_stay_within_bounds_and_biases_are_left(params):
    optimizer = optax.chain(optax.sgd(0.1), training.clip_weights(limit=0.25))
    grads = jax.tree.map(lambda p: -jnp.ones_like(p), params)
    updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
    new = optax.apply_updates(params, updates)
    expected = jnp.clip(params["dense"]["kernel"] + 0.1, -0.25, 0.25)
    np.testing.assert_allclose(new["dense"]["kernel"], expected, atol=1e-6)
    np.testing.assert_allclose(new["dense"]["bias"], 1.1, rtol=1e-6)


def test_clipping_by_deviations(params):
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = training.clip_weights(sigmas=1.5).update(zero, None, params)
    new = optax.apply_updates(params, updates)["dense"]["kernel"]
    bound = 1.5 * jnp.std(params["dense"]["kernel"])
    np.testing.assert_allclose(jnp.max(jnp.abs(new)), bound, rtol=1e-5)


def test_distillation_is_zero_for_the_teacher_itself_only(key):
    logits = jr.normal(key, (5, 4))
    assert float(training.distillation(logits, logits)) == pytest.approx(0, abs=1e-6)
    assert float(training.distillation(logits[::-1], logits)) > 0.01


BAD = {
    "sd": lambda: training.gaussian_noise(-1.0),
    "times": lambda: training.device_noise(
        devices.pcm(), strategies.lsp_first(devices.pcm()), [2.0, 1.0]
    ),
    "steps": lambda: training.noise_ramp(0),
    "limit": lambda: training.clip_weights(),
    "params": lambda: training.clip_weights(limit=1.0).update({}, None),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        BAD[name]()


@pytest.mark.slow
@pytest.mark.parametrize("by_layer", [False, True])
def test_noise_by_tables_is_that_of_the_device_in_a_stack_too(params, key, by_layer):
    """Mean and deviation of the per-device draws, of each layer with its own table."""
    device = devices.pcm()
    ways = [strategies.lsp_first(device), strategies.single_pair(device)]
    w = params["dense"]["kernel"]
    both = {"w": jnp.stack([w, 2 * w])}
    table = moment_table(device, jnp.asarray(TIMES[1:]))
    density = from_weights(w / jnp.max(jnp.abs(w)))
    made = jax.jit(weight_table)
    tables = [made(uniform(way), table, density) for way in ways]
    stack = {"w": jax.tree.map(lambda *v: jnp.stack(v), *tables)}
    axes = Layout(stack=(0,), rows=(1,), columns=(2,))
    noise = training.table_noise(stack, {"w": axes}, by_layer=by_layer)
    run = jax.jit(lambda n, p, k: n(p, k))
    found = jnp.stack([run(noise, both, k)["w"] for k in jr.split(key, 8)])
    for i, way in enumerate(ways):
        exact = training.device_noise(device, way, TIMES[1:], exact=True)
        drawn = jnp.stack(
            [exact({"w": both["w"][i]}, k)["w"] for k in jr.split(key, 8)]
        )
        one, two = ((v - both["w"][i]) / (i + 1) for v in (found[:, i], drawn))
        assert abs(one.std() / two.std() - 1) < 0.03
        assert abs(one.mean() - two.mean()) < 5 * two.std() * np.sqrt(2 / two.size)


def test_gradients_go_through_tables_or_straight_past_them(params, key):
    w = params["dense"]["kernel"]
    device = devices.pcm()
    table = moment_table(device, jnp.asarray(TIMES[1:]))
    how = strategies.lsp_first(device), table, from_weights(w / jnp.max(jnp.abs(w)))
    tables, axes = (
        {"w": jax.jit(weight_table)(*how)},
        {"w": Layout(rows=(0,), columns=(1,))},
    )
    gone = np.zeros(w.shape, bool)
    gone[3, 4] = True

    def loss(w, **options):
        options = {"normalize": "column", "digital": {"w": gone}} | options
        noisy = training.table_noise(tables, axes, **options)({"w": w}, key)["w"]
        return jnp.sum(noisy**2), noisy

    @jax.jit
    def both(w):
        through = jax.grad(lambda w: loss(w, through=True)[0])(w)
        return *jax.grad(loss, has_aux=True)(w), through

    straight, noisy, through = both(w)
    np.testing.assert_allclose(straight, 2 * noisy, rtol=1e-5)
    assert noisy[3, 4] == w[3, 4] and np.sum(noisy == w) == 1
    # everything scales with the largest weights: Euler's theorem, of degree two
    np.testing.assert_allclose(jnp.sum(through * w), 2 * jnp.sum(noisy**2), rtol=1e-4)


def linear(p, x):
    return x @ (p["w"] + p["a"] @ p["b"])


def test_what_is_not_learned_stays_and_batches_add_up(key):
    """Adapters alone, towards a teacher with other parameters."""
    w, a, b, x = (jr.normal(k, (4, 4)) for k in jr.split(key, 4))
    params = {"w": w, "a": 0.1 * a[:, :2], "b": jnp.zeros((2, 4))}
    teacher = params | {"b": b[:2]}
    seen = []
    options = training.TrainOptions(steps=40, chips=1, batch=4, accumulate=2, rate=0.05)
    run = training.trainer(
        linear, params, x, None, options, learned=lambda path, _: path in "ab",
        teacher=teacher, notify=seen.append,
    )  # fmt: skip
    done = run(key)
    np.testing.assert_array_equal(done["w"], w)
    wanted = linear(teacher, x)
    first, last = (
        float(training.distillation(linear(p, x), wanted)) for p in (params, done)
    )
    assert last < 0.5 * first and seen == list(range(40))
    np.testing.assert_array_equal(params["b"], 0)  # what was given is still there


def test_two_batches_are_one_of_both(key):
    """The mean gradient of batches that are alike is that of one."""
    w, x = jr.normal(key, (4, 4)), jr.normal(jr.fold_in(key, 1), (1, 4))
    params = {"w": w, "a": jnp.zeros((4, 2)), "b": jnp.zeros((2, 4))}
    teacher = params | {"w": 2 * w}

    def run(steps, accumulate):
        options = training.TrainOptions(
            steps=steps, chips=1, batch=1, rate=0.01, accumulate=accumulate
        )
        return training.trainer(linear, params, x, None, options, teacher=teacher)(key)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), run(3, 1), run(3, 3)
    )


def test_rows_and_columns_of_squares_are_enough(key):
    """Adafactor and weights in bfloat16 learn what Adam learns, with little state."""
    k = jr.split(key, 3)
    w, x = jr.normal(k[0], (32, 32)) / 6, jr.normal(k[1], (64, 32))
    teacher, params = {"w": w}, {"w": w + 0.1 * jr.normal(k[2], (32, 32))}
    noise = training.gaussian_noise(0.02)

    def apply(p, x):
        seen.add(str(p["w"].dtype))
        return x @ p["w"]

    def left(**how):
        options = training.TrainOptions(steps=60, chips=1, rate=0.02, **how)
        run = training.trainer(apply, params, x, noise, options, teacher=teacher)
        return float(jnp.sqrt(jnp.mean((run(key)["w"] - w) ** 2)))

    seen = set()
    adam = left()
    assert seen == {"float32"}
    large = left(optimizer="adafactor", chip_dtype="bfloat16")
    assert seen == {"float32", "bfloat16"}
    assert adam < 0.05 and large < 1.5 * adam
    state = loop._How(
        apply=apply, goal=apply, loss=training.distillation, energy=None, partly=False,
        chips=1, batch=1, accumulate=1, clip=None, rule="adafactor",
    ).optimizer.init(params)  # fmt: skip
    assert sum(v.size for v in jax.tree.leaves(state)) < 0.1 * w.size
    with pytest.raises(ValueError, match="`optimizer` must be one of"):
        training.TrainOptions(optimizer="sgd")


def test_adapters_in_principal_directions_leave_the_error_of_the_others(key):
    """The mean squared error of outputs is then that of the least eigenvalues."""
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.normal(size=(3, 12, 12)))[0]
    power = 0.5 ** np.arange(12)
    moments = (basis * power) @ np.swapaxes(basis, 1, 2)
    w, error = random.normal(size=(2, 3, 12, 5))
    a = training.principal_directions(moments, 3)
    np.testing.assert_allclose(np.abs(np.einsum("lri,lri->li", a, basis[..., :3])), 1,
                               rtol=1e-4)  # fmt: skip
    b = training.measured_adapters(jnp.asarray(w), jnp.asarray(w + error), a)
    left = error + a @ b
    found = np.einsum("lrc,lrs,lsc->l", left, moments, left)
    turned = np.swapaxes(basis, 1, 2) @ error
    rest = np.einsum("lrc,r->l", turned[:, 3:] ** 2, power[3:])
    np.testing.assert_allclose(found, rest, rtol=1e-3)
    with pytest.raises(ValueError, match="`rank` must be at most 12"):
        training.principal_directions(moments, 13)


LARGE = {"rule": "adafactor", "dtype": "bfloat16"}


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, LARGE], ids=["adapters", "all weights"])
def test_a_step_takes_four_times_the_memory_of_the_parameters(how):
    """All that a step holds: parameters, a chip's weights, gradients, Adam."""
    net = Llama(
        layers=6, width=256, inner=512, heads=4, kv_heads=4, vocabulary=64, remat=True
    )
    params, partly = stacked(net.init(jr.key(0))), not how
    params = net.adapted(params, 4, jr.key(1)) if partly else params
    pcm = devices.pcm()
    table = moment_table(pcm, jnp.asarray(TIMES[1:]))
    even = from_weights(jnp.linspace(-1, 1, 99))
    one = weight_table(strategies.lsp_first(pcm), table, even)
    paths = [f"blocks/{name}" for name in KERNELS]
    tables = {p: jax.tree.map(lambda v: jnp.stack([v] * 6), one) for p in paths}
    axes = Layout(stack=(0,), rows=(1,), columns=(2,), tile_rows=64)
    noise = training.table_noise(
        tables, dict.fromkeys(paths, axes), normalize="tile", by_layer=True
    )
    learned = params
    if partly:
        learned = chip.weights(params, select=lambda p, _: "/digital/" in p)
    step = loop._How(
        apply=net.logits, goal=net.logits, loss=training.distillation, energy=None,
        partly=partly, chips=1, batch=1, accumulate=1, clip=None, **how,
    )  # fmt: skip
    fixed = {"params": Arrays(params), "teacher": Arrays(params), "noise": noise,
             "x": jnp.zeros((4, 8), int), "y": None}  # fmt: skip
    state = step.optimizer.init(learned)
    args = learned, state, fixed, jr.key(0), jnp.asarray(0), jnp.asarray(0.1)
    held = loop._step.lower(*args, how=step).compile().memory_analysis()
    size = sum(v.nbytes for v in jax.tree.leaves(params))
    own = sum(v.nbytes for v in jax.tree.leaves((learned, state)))
    assert size + own + held.temp_size_in_bytes < 4 * size
