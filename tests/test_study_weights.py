"""What studies take for weights, and their layers and columns: what products say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study
from analog_list import vectors, weights
from flax import nnx

from anajax import chip, devices
from anajax.analysis.hardware import Periphery
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.workload import pure
from anajax.mapping import hand as strategies

WORK = tiny_study.tiny_workload("digits")


def network(apply, params, x, **options):
    work = dataclasses.replace(
        WORK, apply=apply, params=params, x=x, y=WORK.y[: len(x)], calibration=x
    )
    return AnalogNetwork(work=work, **options)


def layers_of(own, normalize="layer"):
    strategy = strategies.lsp_first(devices.pcm())
    params = own.work.params
    return chip.encode_weights(params, strategy, select=own.report, normalize=normalize)


def test_arrays_of_two_axes_without_a_product_are_digital():
    """Biases of heads, positions, class tokens and embeddings (18, 3)."""

    def apply(p, x):
        x = jnp.concatenate([p["cls_token"], p["wte"][x.astype(int) % 3]]) + p["pos"]
        return jnp.einsum("si,ihd->shd", x, p["q"]) + p["q_bias"]

    shapes = {"cls_token": (1, 4), "wte": (3, 4), "pos": (2, 4), "q_bias": (2, 3)}
    params = weights(**shapes, q=(4, 2, 3))
    own = network(apply, params, jnp.arange(5.0))
    assert list(own.report.layouts) == ["q"]
    assert layers_of(own).keys() == {"q"}


def stack(p, x):
    def block(x, p):
        return jnp.tanh(x @ p["w"]) * p["scale"], None

    return jax.lax.scan(block, x, p)[0]


def test_each_layer_of_a_stack_has_its_own_range_and_noise():
    """One w_max and ADC range each; stacked scales are digital (18, 4)."""
    params = weights(w=(3, 4, 4)) | {"scale": jnp.ones((3, 4))}
    params["w"] = params["w"] * jnp.array([1.0, 10, 100])[:, None, None]
    noisy = Periphery(dac_bits=12, adc_bits=12, output_noise=0.1)
    own = network(stack, params, vectors(6, 4), periphery=noisy)
    assert [p.path for p in own.report.analog] == ["w"]
    largest = np.abs(params["w"]).max((1, 2))
    np.testing.assert_allclose(layers_of(own)["w"].w_max.ravel(), largest, rtol=1e-6)
    io = own.ios(params)["w"]
    assert io.adc.bound.shape == (3,) and np.all(np.diff(io.adc.bound) > 0)
    np.testing.assert_allclose(io.noise.sd, 0.1 * largest, rtol=1e-6)
    quiet = dataclasses.replace(noisy, output_noise=0.0)
    own = network(stack, params, vectors(6, 4), periphery=quiet)
    x = own.work.x
    y = own.apply(own.ios(params), params, x, None)
    np.testing.assert_allclose(y, stack(params, x), atol=0.02)


@pytest.mark.parametrize("out_first", [False, True])
def test_columns_are_outputs_in_both_orders(out_first):
    """`[out, in]` as in PyTorch and Equinox (18, 5)."""
    w = weights(w=(5, 3))["w"] * jnp.array([1.0, 3, 9])
    params = {"w": w.T if out_first else w}
    own = network(
        lambda p, x: x @ (p["w"].T if out_first else p["w"]),
        params, vectors(6, 5), normalize="column",
        periphery=Periphery(adc_bits=8, output_noise=0.1),
    )  # fmt: skip
    layer = layers_of(own, "column")["w"]
    largest = np.abs(w).max(0)
    unit = np.ravel(layer.unit)
    np.testing.assert_allclose(unit / unit.max(), largest / largest.max(), rtol=1e-5)
    sd = own.ios(params)["w"].noise.sd
    np.testing.assert_allclose(sd.ravel(), 0.1 * largest, rtol=1e-5)


def test_a_network_that_is_one_layer_and_one_with_adapters():
    """`""` paths; the base of a LoRA layer on the chip, adapters digital (18, 15)."""
    params, apply = pure(nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
    own = network(apply, params, vectors(6, 4), periphery=Periphery(adc_bits=8))
    assert list(own.ios(params)) == ["kernel"]
    adapted = nnx.LoRALinear(4, 3, lora_rank=2, rngs=nnx.Rngs(0))
    params, apply = pure(adapted)
    own = network(apply, params, vectors(6, 4), periphery=Periphery(adc_bits=8))
    assert "kernel" in own.ios(params)


def test_half_precision_comes_back_as_it_was():
    params = jax.tree.map(lambda v: v.astype(jnp.bfloat16), weights(w=(4, 4)))
    own = network(lambda p, x: x @ p["w"], params, vectors(6, 4).astype(jnp.bfloat16))
    layers = layers_of(own)
    part = chip.program(devices.pcm(), layers, key=jax.random.key(0))
    read = chip.read(devices.pcm(), part, t=1.0, index=1)
    assert chip.insert(params, read)["w"].dtype == jnp.bfloat16
