"""The side of anajax."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from flax import nnx
from layers import Mlp, step
from worker import serve

import anajax
from anajax import chip, devices, replace, strategies, training
from anajax.crossbar import periphery
from anajax.crossbar import product as cb
from anajax.nn.convert import functional, to_analog
from anajax.transformation import Rule

DEVICE = devices.pcm()
TIMES = np.array([1.0, 60.0, 3600.0, 86400.0, 604800.0, 2592000.0, 31536000.0])
ITEMS, BATCH, CHIPS = 10_000, 1000, 5


def waiting(function, *args):
    """A work: the function, until its results are there."""
    return lambda: jax.block_until_ready(function(*args))


def devices_of(strategy):
    """Program a million weights, and drift and read them at one time."""
    key, params = anajax.key(0), {"w": jr.uniform(jr.key(0), (1024, 1024), minval=-1)}
    layers = chip.encode_weights(params, strategy)
    write = jax.jit(lambda layers: chip.program(DEVICE, layers, key=key))
    look = jax.jit(lambda part: chip.read(DEVICE, part, t=86400.0, index=1))
    return waiting(write, layers), waiting(look, write(layers))


def forward():
    """A batch through a matrix, 7-bit inputs, 9-bit outputs, noise."""
    x, w = jr.normal(jr.key(0), (128, 1024)), jr.normal(jr.key(1), (1024, 1024)) / 30
    tiles = cb.from_weights(w, cb.TileRule(rows=512, columns=512))
    io, key = periphery.standard(), anajax.key(0)
    return waiting(jax.jit(lambda x: cb.mvm(tiles, x, io, key=key)), x)


def study(rule):
    """An MLP on some chips at seven times."""
    model = Mlp([784, 512, 256, 10], nnx.Rngs(0))
    x = jr.normal(jr.key(1), (ITEMS, 784))
    y = jnp.argmax(model(x), -1)
    params, apply = functional(model)
    if rule is not None:
        _, apply = functional(to_analog(model, [rule]).model)

    def accuracy(data, params, *key):
        own = {"key": key[0]} if key else {}
        right = jax.lax.map(
            lambda d: jnp.mean(jnp.argmax(apply(params, d[0], **own), -1) == d[1]), data
        )
        return jnp.mean(right)

    data = x.reshape(-1, BATCH, 784), y.reshape(-1, BATCH)
    metric = jax.tree_util.Partial(accuracy, data)
    return waiting(
        lambda: anajax.evaluate(
            metric, params, DEVICE, strategies.single_pair(DEVICE), TIMES,
            chips=CHIPS, key=anajax.key(2), keyed=rule is not None,
        ).metric
    )  # fmt: skip


def train():
    """A step of Adam with weight noise and converters, without output noise."""
    x, y = jr.normal(jr.key(0), (128, 784)), jr.randint(jr.key(1), (128,), 0, 10)
    rule = Rule(".*", io=replace(periphery.standard(), noise=periphery.NoNoise()))
    noise = training.gaussian_noise(0.05)
    return waiting(step([784, 512, 256, 10], rule, noise, x, y)[1])


PAIR, PAIRS = strategies.single_pair(DEVICE), strategies.equal_split(DEVICE)
serve(
    {
        "program 1 M weights, one pair": lambda: devices_of(PAIR)[0],
        "drift and read, one pair": lambda: devices_of(PAIR)[1],
        "program 1 M weights, two pairs": lambda: devices_of(PAIRS)[0],
        "drift and read, two pairs": lambda: devices_of(PAIRS)[1],
        "forward 1024 x 1024, batch 128, converters and noise": forward,
        "study of an MLP, 5 chips x 7 times": lambda: study(None),
        "study of an MLP, converters": lambda: study(
            Rule(".*", io=periphery.standard())
        ),
        "training step of an MLP": train,
    }
)
