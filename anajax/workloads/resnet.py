"""Residual networks for small images (He et al., 2016, section 4.2) in plain Flax."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax.workloads import weights

AROUND = ((1, 1), (1, 1))
"""One pixel of padding on all sides, also where the stride is 2."""


def conv3(inputs: int, outputs: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    """A 3x3 convolution without bias, He initialization."""
    return nnx.Conv(
        inputs,
        outputs,
        (3, 3),
        strides=stride,
        padding=AROUND,
        use_bias=False,
        kernel_init=nnx.initializers.he_normal(),
        rngs=rngs,
    )


def norm(width: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Batch norm with its running statistics."""
    return nnx.BatchNorm(width, use_running_average=True, momentum=0.9, rngs=rngs)


class Block(nnx.Module):
    """Two convolutions with batch norm and a shortcut without parameters.

    If the width changes, the shortcut takes every second pixel and pads channels with
    zeros, equally on both sides (option A).
    """

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.stride = 1 if inputs == outputs else 2
        self.pad = (outputs - inputs) // 2
        self.conv1 = conv3(inputs, outputs, self.stride, rngs)
        self.bn1 = norm(outputs, rngs)
        self.conv2 = conv3(outputs, outputs, 1, rngs)
        self.bn2 = norm(outputs, rngs)

    def __call__(
        self, x: Float[JArray, "n rows cols inputs"]
    ) -> Float[JArray, "n rows2 cols2 outputs"]:
        """The block's output, after its ReLU."""
        y = self.bn2(self.conv2(jax.nn.relu(self.bn1(self.conv1(x)))))
        x = x[:, :: self.stride, :: self.stride]
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (self.pad, self.pad)))
        return jax.nn.relu(x + y)


class ResNet(nnx.Module):
    """ResNet of depth 6 n + 2: three stages of n blocks, widths w, 2 w and 4 w."""

    def __init__(
        self,
        depth: int,
        *,
        channels: int = 3,
        classes: int = 10,
        width: int = 16,
        rngs: nnx.Rngs,
    ):
        each = (depth - 2) // 6
        widths = [width] * (each + 1) + [2 * width] * each + [4 * width] * each
        self.conv1 = conv3(channels, width, 1, rngs)
        self.bn1 = norm(width, rngs)
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.blocks = nnx.List([Block(i, o, rngs=rngs) for i, o in pairs])
        self.linear = nnx.Linear(4 * width, classes, rngs=rngs)

    def __call__(
        self, x: Float[JArray, "n rows cols channels"]
    ) -> Float[JArray, "n classes"]:
        """Logits of normalized images `x`."""
        x = jax.nn.relu(self.bn1(self.conv1(x)))
        for block in self.blocks:
            x = block(x)
        return self.linear(x.mean(axis=(1, 2)))


def port(given: dict[str, np.ndarray]) -> ResNet:
    """The network from a PyTorch state dict (names `layer2.0.conv1.weight`, OIHW)."""
    arrays = {_path(name, given): _transposed(given[name]) for name in given}
    depth = 2 * sum(name.endswith("conv1.weight") for name in given)
    return weights.restore(lambda: ResNet(depth, rngs=nnx.Rngs(0)), arrays)


def _path(name: str, given: dict[str, np.ndarray]) -> str:
    """`layer2.0.bn1.running_var` as `blocks/5/bn1/var`."""
    *module, leaf = name.split(".")
    if module[0].startswith("layer"):
        stages = sorted({n.split(".")[0] for n in given if n.startswith("layer")})
        each = [
            len({n.split(".")[1] for n in given if n.startswith(s)}) for s in stages
        ]
        before = sum(each[: stages.index(module[0])])
        module = ["blocks", str(before + int(module[1])), *module[2:]]
    leaves = {"bias": "bias", "running_mean": "mean", "running_var": "var"}
    plain = "scale" if module[-1].startswith("bn") else "kernel"
    return "/".join([*module, leaves.get(leaf, plain)])


def _transposed(array: np.ndarray) -> np.ndarray:
    """Kernels from output-first to output-last; vectors as they are."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array
