"""Learned input ranges: their gradient is right, and they learn."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from flax import nnx

from anajax.crossbar.converters import uniform
from anajax.crossbar.periphery import IO, LearnedRange
from anajax.nn.calibration import calibrate_ranges
from anajax.nn.convert import functional, to_analog
from anajax.transformation import Rule


class Net(nnx.Module):
    """Two layers with a smooth function between them."""

    def __init__(self, dtype=jnp.float32):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(20, 16, param_dtype=dtype, rngs=rngs)
        self.second = nnx.Linear(16, 5, param_dtype=dtype, rngs=rngs)

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(x)))


def converted(net, ranges, bits=4, bound=1.5):
    rules = [
        Rule(
            path,
            io=IO(
                scaling=LearnedRange(range=r),
                dac=uniform(bits, 1.0),
                adc=uniform(bits, bound),
            ),
        )
        for path, r in zip(("first", "second"), ranges, strict=True)
    ]
    return to_analog(net, rules).model


class Frozen:
    """A converter whose rounding residuals, and who clips, stay as at first."""

    def __init__(self, bits, bound):
        self.codes = 2 ** (bits - 1) - 1
        self.step, self.residual = bound / self.codes, None

    def __call__(self, x):
        x = x / self.step
        if self.residual is None:
            self.residual = np.round(x) - x
            self.clipped = np.abs(np.round(x)) > self.codes
        limit = self.codes * np.sign(x)
        return np.where(self.clipped, limit, x + self.residual) * self.step


def test_gradient_is_that_of_the_network_with_frozen_rounding(x64):
    x, target = jr.normal(jr.key(0), (30, 20)), jr.normal(jr.key(1), (30, 5))
    net, ranges = Net(jnp.float64), np.array([1.3, 0.4])
    params, apply = functional(converted(net, ranges))
    loss = lambda p: jnp.mean((apply(p, x) - target) ** 2)  # noqa: E731
    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    got = [grads[n]["analog"]["input_range"] for n in ("first", "second")]
    converters = [Frozen(4, b) for b in (1.0, 1.5, 1.0, 1.5)]

    def smooth(ranges):
        h = np.asarray(x)
        for i, layer in enumerate((net.first, net.second)):
            h = np.tanh(h) if i else h
            dac, adc = converters[2 * i : 2 * i + 2]
            sums = dac(h / ranges[i]) @ np.asarray(layer.kernel[...])
            h = adc(sums) * ranges[i] + np.asarray(layer.bias[...])
        return np.mean((h - np.asarray(target)) ** 2)

    assert smooth(ranges) == pytest.approx(float(value), rel=1e-12)
    assert all(0.01 < np.mean(c.clipped) < 0.9 for c in converters)
    for i, step in enumerate(1e-7 * np.eye(2)):
        slope = (smooth(ranges + step) - smooth(ranges - step)) / 2e-7
        assert abs(slope) > 1e-3
        assert float(got[i]) == pytest.approx(slope, rel=1e-6)


@pytest.mark.slow
def test_ranges_learn_from_far_off_to_better_than_calibrated():
    net, x = Net(), jr.normal(jr.key(2), (256, 20))
    exact = jax.jit(net)(x)
    start = converted(net, (0.3, 8.0), bits=5, bound=4.0)
    (far, apply), (near, _) = map(functional, (start, calibrate_ranges(start, [x])))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 300))
    ranges = lambda p: {n: v["analog"]["input_range"] for n, v in p.items()}  # noqa: E731

    def loss(ranges):
        own = {n: far[n] | {"analog": {"input_range": r}} for n, r in ranges.items()}
        return jnp.mean((apply(own, x) - exact) ** 2)

    @jax.jit
    def run(ranges):
        def step(carry, _):
            value, grads = jax.value_and_grad(loss)(carry[0])
            updates, state = optimizer.update(grads, carry[1])
            return (optax.apply_updates(carry[0], updates), state), value

        start = ranges, optimizer.init(ranges)
        (found, _), history = jax.lax.scan(step, start, None, length=300)
        return history[0], loss(found), loss(calibrated), found

    calibrated = ranges(near)
    before, after, by_maximum, found = run(ranges(far))
    assert after < 0.1 * before and after < by_maximum
    assert found["first"] > 1 and found["second"] < 2
