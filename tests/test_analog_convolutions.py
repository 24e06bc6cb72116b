"""Convolutions without unfolding give what tiles give for each window."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analog_list import vectors, weights

from anajax.crossbar import TileRule, periphery
from anajax.crossbar.periphery import IO, LearnedRange, OutputNoise
from anajax.transformation import Rule, analog, multiply

LEARNED = {"scaling": LearnedRange(range=0.8), "dac": periphery.uniform(6, 1.0)}
WAYS = {
    "fixed": IO(**LEARNED, adc=periphery.uniform(6, 1.5)),
    "noisy": IO(**LEARNED, noise=OutputNoise(sd=0.1)),
    "ranging": IO(**LEARNED, adc=periphery.bits(6, 5).adc),
    "outputs": IO(adc=periphery.uniform(4, 0.5)),
}
WINDOWS = {
    "plain": {"window_strides": (1, 1), "padding": "SAME"},
    "moved": {
        "window_strides": (2, 1),
        "padding": ((1, 0), (-1, 2)),
        "rhs_dilation": (1, 2),
        "lhs_dilation": (2, 1),
    },
    "grouped": {
        "window_strides": (1, 1),
        "padding": "VALID",
        "feature_group_count": 2,
        "dimension_numbers": ("NCHW", "OIHW", "NCHW"),
    },
}


def of(window):
    """A convolution, its kernel and its input."""
    numbers = ("NHWC", "HWIO", "NHWC")
    how = {"dimension_numbers": numbers} | WINDOWS[window]
    first = how["dimension_numbers"][0] == "NCHW"
    x = vectors(2, 4, 6, 5) if first else vectors(2, 6, 5, 4)
    p = weights(w=(8, 2, 3, 2) if first else (3, 2, 4, 8))
    return lambda p, x: jax.lax.conv_general_dilated(x, p["w"], **how), p, x


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("way", WAYS)
def test_the_convolution_of_converted_inputs(way, window, key, monkeypatch):
    apply, p, x = of(window)
    normalize = {"fixed": "none", "noisy": "tile", "ranging": "array"}.get(way, "tile")
    rule = Rule("w", io=WAYS[way], normalize=normalize, tiles=TileRule(columns=2))

    def run():
        f = analog(apply, rule)

        def loss(p, x):
            y = f(p, x, key=key)
            return jnp.sum(jnp.sin(jnp.arange(y.size)).reshape(y.shape) * y), y

        both = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
        return both.lower(p, x).as_text(), both(p, x)

    text, got = run()
    assert "stablehlo.convolution" in text
    monkeypatch.setattr(multiply, "fits", lambda *_: False)
    jax.clear_caches()
    text, expected = run()
    assert "stablehlo.convolution" not in text
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-5),
        got,
        expected,
    )


def test_windows_that_are_scaled_each_by_itself_are_unfolded():
    apply, p, x = of("plain")
    for rule in (
        Rule("w", io=periphery.bits()),
        Rule("w", io=WAYS["fixed"], tiles=TileRule(rows=5)),
        Rule("w", io=periphery.training()),
    ):
        f = analog(apply, rule)
        text = jax.jit(lambda p, x, f=f: f(p, x, key=jax.random.key(0)))
        assert "stablehlo.convolution" not in text.lower(p, x).as_text()


def test_noise_without_unfolding_needs_a_key():
    apply, p, x = of("plain")
    with pytest.raises(ValueError, match="`key` must be given"):
        analog(apply, Rule("w", io=WAYS["noisy"]))(p, x)


# --- compile time -------------------------------------------------------------------


def conv(x, w, stride=1):
    numbers = ("NHWC", "HWIO", "NHWC")
    move = (stride, stride)
    return jax.lax.conv_general_dilated(x, w, move, "SAME", dimension_numbers=numbers)


def resnet(p, x):
    """ResNet-32, unrolled."""
    x = jax.nn.relu(conv(x, p["stem"]))
    for i, block in enumerate(p["blocks"]):
        stride = 2 if i in (5, 10) else 1
        y = jax.nn.relu(conv(x, block["a"], stride) * block["scale"])
        y = conv(y, block["b"]) * block["scale"]
        if stride == 2:
            channels = (0, y.shape[-1] - x.shape[-1])
            x = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), channels))
        x = jax.nn.relu(x + y)
    return x.mean((1, 2)) @ p["head"]


def of_resnet():
    sizes = [16] * 5 + [32] * 5 + [64] * 5
    before = [16, *sizes[:-1]]
    blocks = [
        weights(a=(3, 3, n, m), b=(3, 3, m, m), scale=(m,))
        for n, m in zip(before, sizes, strict=True)
    ]
    return {**weights(stem=(3, 3, 3, 16), head=(64, 10)), "blocks": blocks}


@pytest.mark.slow
def test_an_unrolled_resnet_compiles_as_fast_as_its_function():
    """On ideal hardware; fixed converters took 1.7 to 2 times as long when measured.

    Those of a preset that scales each vector by itself unfold windows: 6 times, and 16
    times with noise, which is drawn for each product.
    """
    p, x = of_resnet(), vectors(16, 32, 32, 3)

    def seconds(f):
        jax.clear_caches()
        start = time.process_time()
        jax.jit(f).lower(p, x).compile()
        return time.process_time() - start

    rules = Rule(".*"), Rule(".*", io=WAYS["fixed"])
    seconds(resnet)
    plain = min(seconds(resnet) for _ in range(2))
    ideal, fixed = (min(seconds(analog(resnet, r)) for _ in range(2)) for r in rules)
    assert ideal < 1.5 * plain
    assert fixed < 2.5 * plain
