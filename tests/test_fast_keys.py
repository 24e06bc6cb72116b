"""Keys that use both words of the cipher: as any key of jax, and independent draws."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.extend.random import threefry2x32_p
from jax.sharding import Mesh, PartitionSpec
from scipy import stats
from scipy.special import ndtri

import anajax
from anajax import chip, devices, rng, strategies
from anajax._core.normal import normal, of_words
from anajax._core.words import cipher, words

KEY = anajax.key(20220613)


def test_cipher_is_that_of_jax():
    key = jnp.array([0x13198A2E, 0x03707344], jnp.uint32)
    first, second = jnp.array([0x243F6A88, 5], jnp.uint32), jnp.uint32(0x85A308D3)
    found = np.asarray(cipher(key, first, second))
    assert found[:, 0].tolist() == [0xC4923A9C, 0x483DF7A0]  # Random123, known answer
    second = jnp.broadcast_to(second, first.shape)
    np.testing.assert_array_equal(
        found, np.asarray(threefry2x32_p.bind(*key, first, second))
    )


def test_streams_are_those_of_the_same_seed():
    fast, own = (rng.stream(rng.path_key(k(7), "a"), rng.Stage.READ, 3) for k in KINDS)
    assert jr.key_data(fast).tolist() == jr.key_data(own).tolist()
    fast, own = (jr.split(k(7), 3) for k in KINDS)
    assert jr.key_data(fast).tolist() == jr.key_data(own).tolist()


KINDS = (anajax.key, jr.key)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (8,), (3, 4), (4, 1), (3, 3, 3)])
def test_every_word_occurs_once_and_in_any_transformation(shape):
    keys = jr.split(KEY, 3)
    draw = lambda k: jr.bits(k, shape, jnp.uint32)  # noqa: E731
    one = np.stack([draw(k) for k in keys])
    assert one.shape == (3, *shape) and len(np.unique(one)) == one.size
    np.testing.assert_array_equal(jax.vmap(jax.jit(draw))(keys), one)
    scanned = jax.lax.map(draw, keys)
    np.testing.assert_array_equal(scanned, one)
    mesh = Mesh(np.array(jax.devices()[:1]), "x")
    spec = PartitionSpec()
    cut = jax.shard_map(draw, mesh=mesh, in_specs=spec, out_specs=spec)
    np.testing.assert_array_equal(jax.jit(cut)(keys[0]), one[0])


def test_other_widths(x64):
    assert jr.bits(KEY, (3, 2), jnp.uint8).dtype == jnp.uint8
    wide = jr.bits(KEY, (64, 3), jnp.uint64)
    assert wide.dtype == jnp.uint64 and int(wide.max()) > 2**63 > int(wide.min())
    assert words(jr.key_data(KEY), (0, 2)).shape == (0, 2)
    z = normal(KEY, (1000,), jnp.float64)
    np.testing.assert_array_equal(z, jr.normal(KEY, (1000,), jnp.float64))
    assert normal(KEY, (3,), jnp.bfloat16).dtype == jnp.bfloat16


@pytest.mark.parametrize("key", [jr.key(3), jr.key(3, impl="rbg")])
def test_keys_of_the_user_draw_as_before(key):
    np.testing.assert_array_equal(normal(key, (4, 5)), jr.normal(key, (4, 5)))


def test_normals_are_quantiles_of_their_words():
    some = np.random.default_rng(0).integers(0, 2**32, 10**5, dtype=np.uint32)
    ends = np.array([0, 1, 2, 3, 2**31, 2**32 - 2, 2**32 - 1], np.uint32)
    word = np.concatenate([ends, some, np.arange(4000, dtype=np.uint32)])
    p = (word // 2 + 0.5) / 2**32
    expected = np.where(word % 2, 1, -1) * ndtri(p)
    np.testing.assert_allclose(of_words(word), expected, rtol=0, atol=2e-6)
    assert np.max(np.abs(expected)) == pytest.approx(6.338, abs=1e-3)


N = 2**21


@pytest.fixture(scope="module")
def draws():
    """Normals of neighboring chips and stages of one layer: `[streams paths N]`."""
    keys = [rng.stream(KEY, rng.Stage.CHIP, i) for i in range(2)]
    keys = [rng.path_key(k, path) for k in keys for path in ("a/kernel", "b/kernel")]
    stages = (rng.Stage.PROGRAM, rng.Stage.FREEZE, rng.Stage.READ)
    keys = jnp.stack([rng.stream(k, s) for k in keys for s in stages])
    some = jax.jit(jax.vmap(lambda k: normal(k, (N // 1024, 1024))))
    return np.asarray(some(keys), float).reshape(len(keys), -1)


@pytest.mark.parametrize("power", range(1, 9))
def test_moments(draws, power):
    """Of all together, to the eighth, within 4 standard errors."""
    law = [stats.norm.moment(power), stats.norm.moment(2 * power)]
    error = np.sqrt((law[1] - law[0] ** 2) / draws.size)
    assert abs(np.mean(draws**power) - law[0]) < 4 * error


def test_distribution(draws):
    count, edges = np.histogram(draws, np.linspace(-5, 5, 201))
    p = np.diff(stats.norm.cdf(edges))
    chi2 = np.sum((count - draws.size * p) ** 2 / (draws.size * p))
    assert stats.chi2.sf(chi2, len(p)) > 1e-4
    for z in (3, 4, 5):
        p = 2 * stats.norm.sf(z)
        share = np.mean(np.abs(draws) > z)
        assert abs(share - p) < 4 * np.sqrt(p / draws.size)


@pytest.mark.parametrize("size", [False, True])
def test_chips_paths_and_stages_are_uncorrelated(draws, size):
    """Of all pairs of streams, in value and in size; 66 pairs at 4.5 deviations."""
    x = draws**2 - 1 if size else draws
    z = np.corrcoef(x)[np.triu_indices(len(x), 1)] * np.sqrt(N)
    assert np.max(np.abs(z)) < 4.5 and stats.kstest(z, "norm").pvalue > 1e-3


@pytest.mark.parametrize("lag", [1, 2, 512, 1023, 1024, 1025, 2048, N // 2])
def test_neighbors_are_uncorrelated(draws, lag):
    """Also the two words of one counter, 1024 apart here, in value and in size."""
    for x in (draws[0], draws[0] ** 2 - 1):
        product = x[lag:] * x[:-lag]
        assert abs(product.mean()) < 4.5 * product.std() / np.sqrt(product.size)


def test_a_chip_is_the_same_among_any():
    device = devices.pcm()
    params = {"a": jnp.linspace(-1, 1, 24).reshape(6, 4)}

    def metric(p):
        return p["a"].ravel()

    how = (device, strategies.lsp_first(device), [1.0, 3600.0])
    many = anajax.evaluate(metric, params, *how, chips=3, key=KEY, chunk=2).metric
    one = anajax.evaluate(metric, params, *how, chips=np.array([2]), key=KEY).metric
    np.testing.assert_array_equal(many[2:], one)
    other = anajax.evaluate(metric, params, *how, chips=1, key=jr.key(1)).metric
    assert not np.any(np.asarray(other) == np.asarray(many[0]))
    noisy = chip.perturb(params, device, how[1], t=1.0, key=KEY)
    assert noisy["a"].shape == (6, 4)


def test_words_are_those_of_a_cpu():
    """On a machine with a GPU: words to the bit, normals to rounding."""
    if jax.default_backend() == "cpu":
        pytest.skip("this is a CPU")
    found = []
    for device in (jax.devices()[0], jax.devices("cpu")[0]):
        with jax.default_device(device):
            here = rng.stream(rng.path_key(anajax.key(7), "a"), rng.Stage.READ, 3)
            words = jr.bits(here, (300, 41), jnp.uint32)
            found.append((np.asarray(words), np.asarray(normal(here, (300, 41)))))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=2e-6, atol=2e-6)


def test_draws_apart_are_calls_with_the_same_bits():
    def both(draw, keys):
        return [jnp.tanh(draw(key, (6, 5))) for key in keys]

    keys = jr.split(KEY, 2)
    apart = jax.jit(lambda keys: both(rng.normal_apart, keys))
    for one, other in zip(apart(keys), both(normal, keys), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-7)
    draw = lambda key: rng.normal_apart(key, (6, 5))  # noqa: E731
    mapped, each = jax.vmap(draw)(keys), [normal(key, (6, 5)) for key in keys]
    np.testing.assert_array_equal(mapped, np.stack(each))
    if jax.default_backend() == "cpu":
        compiled = apart.lower(keys).compile().as_text()
        assert compiled.count(" call(") == len(keys)
