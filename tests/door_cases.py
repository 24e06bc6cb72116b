"""Networks of Flax behind `to_analog`, and what they give: recorded, and measured anew.

`door_before.npz` holds what the layer classes gave that `to_analog` had until commit
37570ab, before it became a door over the transformation: these functions, run there,
and networks on a chip (`CHIPS`) by what layers had for it.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from flax import nnx
from layer_list import CELLS, LAYERS

from anajax import devices
from anajax._core.tree import replace
from anajax.crossbar import periphery
from anajax.crossbar.periphery import IO, LearnedRange
from anajax.crossbar.tiling import TileRule
from anajax.mapping import hand as strategies
from anajax.nn.calibration import calibrate_ranges
from anajax.nn.convert import functional, to_analog
from anajax.transformation import Rule

FILE = Path(__file__).parent / "door_before.npz"
TILES = TileRule(rows=4, columns=3)
STEPS = IO(
    scaling=periphery.AbsMax(),
    dac=periphery.uniform(5, 1.0),
    adc=periphery.uniform(6, 2.0),
)
LEARNED = IO(
    scaling=LearnedRange(range=0.7),
    dac=periphery.uniform(6, 1.0),
    adc=periphery.uniform(6, 1.5),
)
RULES = {
    "ideal": Rule(".*", tiles=TILES),
    "steps": Rule(".*", io=STEPS, tiles=TILES, normalize="column"),
}
MORE = {
    "learned": Rule(".*", io=LEARNED, tiles=TILES),
    "bits": Rule(".*", io=periphery.bits(6, 6), tiles=TILES),
    "sliced": Rule(
        ".*",
        io=IO(
            scaling=periphery.AbsMax(),
            dac=periphery.uniform(5, 1.0),
            slicing=periphery.BitSlices(bits=2),
            adc=periphery.uniform(5, 2.0),
            bounds=periphery.BoundManagement(),
            drop=periphery.IRDrop(),
        ),
        tiles=TILES,
        normalize="array",
    ),
}
NOISY = {
    "standard": periphery.standard(),
    "training": periphery.training(),
}
KEYS = 1500


class Net(nnx.Module):
    """A convolution, a norm, a stack and a layer that is used twice."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(2, 6, (2, 2), feature_group_count=2, rngs=rngs)
        self.norm = nnx.LayerNorm(6, rngs=rngs)
        make = nnx.vmap(lambda r: nnx.Linear(6, 6, rngs=r))
        self.blocks = nnx.split_rngs(splits=3)(make)(rngs)
        self.linear = nnx.Linear(6, 6, rngs=rngs)

    def __call__(self, x):
        h = self.norm(self.conv(x)).mean((1, 2))
        step = nnx.scan(lambda h, one: (jnp.tanh(one(h)), None), in_axes=(nnx.Carry, 0))
        h, _ = step(h, self.blocks)
        return self.linear(3 * self.linear(h))


def draw(shape):
    """Normal numbers that no version of JAX changes."""
    return jnp.asarray(np.random.default_rng(5).normal(size=shape), jnp.float32)


def with_drawn(model):
    """The model with parameters that no version of Flax changes."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    params = jax.tree.map(lambda w: 0.4 * draw(w.shape), params)
    return nnx.merge(graph, params, rest)


IMAGES = draw((6, 4, 4, 2))


class Flat(nnx.Module):
    """A grouped convolution and a linear layer."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(2, 4, (2, 2), feature_group_count=2, rngs=rngs)
        self.linear = nnx.Linear(4, 6, rngs=rngs)

    def __call__(self, x):
        return self.linear(jax.nn.relu(self.conv(x)).mean((1, 2)))


DEVICE = devices.pcm()
QUIET = replace(DEVICE, read=devices.NoReadNoise())
PAIRS = (0, 0, 1, 1)
LSP, OFFSET = strategies.lsp_first, strategies.offset_device
CHIPS = {
    "chip/together": (MORE["learned"], "analog", LSP, False, "none"),
    "chip/pairs": (RULES["steps"], PAIRS, LSP, False, "none"),
    "chip/offset": (MORE["learned"], "analog", OFFSET, False, "none"),
    "chip/column": (RULES["ideal"], "analog", LSP, False, "column"),
    "chip/tile": (RULES["ideal"], "analog", LSP, False, "tile"),
    "chip/noisy": (RULES["ideal"], "analog", LSP, True, "none"),
}
"""Rule, which devices share an ADC, strategy, whether reads are noisy, scope.

Factors of a whole layer are not among them: groups of channels had a factor each, where
a layer now has one, as `chip.read` has it.
"""


def cases():
    """Name -> (model, inputs, rule)."""
    found = {}
    for name, (build, shape) in LAYERS.items():
        x = draw(shape)
        for kind, rule in RULES.items():
            found[f"{name}/{kind}"] = nnx.List([build(nnx.Rngs(3))]), x, rule
    for name in ("linear", "conv2d_valid", "einsum"):
        build, shape = LAYERS[name]
        for kind, rule in MORE.items():
            layers = nnx.List([build(nnx.Rngs(3))])
            found[f"{name}/{kind}"] = layers, draw(shape), rule
    for name, build in CELLS.items():
        rnn = nnx.RNN(build(nnx.Rngs(0)), rngs=nnx.Rngs(1))
        found[f"{name}/steps"] = nnx.List([rnn]), draw((2, 5, 3)), STEP
    found["net/steps"] = nnx.List([Net()]), IMAGES, STEP
    found["net/learned"] = nnx.List([Net()]), IMAGES, MORE["learned"]
    return found


STEP = RULES["steps"]


def outputs(model, x, rule):
    """Outputs, and gradients by path."""
    layers = to_analog(with_drawn(model), [rule]).model
    params, apply = functional(_First(layers))

    def loss(params, x):
        y = apply(params, x)
        return jnp.sum(y * jnp.cos(jnp.arange(y.size).reshape(y.shape))), y

    grads, y = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)
    flat, _ = jax.tree_util.tree_flatten_with_path(grads)
    return {"y": y} | {jax.tree_util.keystr(p): g for p, g in flat}


class _First(nnx.Module):
    def __init__(self, layers):
        self.layers = layers

    def __call__(self, x):
        return self.layers[0](x)


def ranges():
    """Calibrated ranges of a network by path."""
    model = to_analog(with_drawn(Net()), [MORE["learned"]]).model
    model = calibrate_ranges(model, [IMAGES[:3], IMAGES[3:]])
    found = {}
    for name in ("conv", "blocks", "linear"):
        analog = getattr(model, name).analog
        found[f"{name}/input"] = analog.input_range[...]
        found[f"{name}/adc"] = analog.io.get_value().adc.bound
    return found


def noise(io, key):
    """Mean and standard deviation of each output over keys."""
    rule = Rule(".*", io=io, tiles=TILES, normalize="column")
    params, apply = functional(to_analog(with_drawn(Net()), [rule]).model)

    @jax.jit
    def run(keys):
        y = jax.lax.map(lambda k: apply(params, IMAGES[:2], key=k), keys)
        return jnp.mean(y, 0), jnp.std(y, 0)

    mean, sd = run(jr.split(key, KEYS))
    return {"mean": mean, "sd": sd}
