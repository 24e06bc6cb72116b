"""Every layer that can be converted: a function that builds it, and an input shape."""

from flax import nnx


def _mha(rngs):
    return nnx.MultiHeadAttention(2, 6, rngs=rngs, decode=False)


LAYERS = {
    "linear": (lambda r: nnx.Linear(7, 5, rngs=r), (3, 7)),
    "linear_nobias": (lambda r: nnx.Linear(7, 5, use_bias=False, rngs=r), (2, 3, 7)),
    "general": (lambda r: nnx.LinearGeneral(6, (2, 3), rngs=r), (4, 6)),
    "general_axes": (
        lambda r: nnx.LinearGeneral((2, 3), (4, 2), axis=(-2, -1), rngs=r),
        (5, 2, 3),
    ),
    "general_batch": (
        lambda r: nnx.LinearGeneral(3, 4, batch_axis={0: 2}, rngs=r),
        (2, 5, 3),
    ),
    "einsum": (
        lambda r: nnx.Einsum("nta,hab->nhtb", (2, 3, 4), (2, 1, 4), rngs=r),
        (5, 6, 3),
    ),
    "einsum_batch": (
        lambda r: nnx.Einsum("...hd,hde->...he", (2, 3, 4), rngs=r),
        (5, 6, 2, 3),
    ),
    "conv1d_causal": (
        lambda r: nnx.Conv(3, 4, (3,), padding="CAUSAL", kernel_dilation=2, rngs=r),
        (2, 9, 3),
    ),
    "conv2d": (lambda r: nnx.Conv(3, 4, (3, 2), strides=(2, 1), rngs=r), (2, 7, 6, 3)),
    "conv2d_valid": (
        lambda r: nnx.Conv(
            4,
            6,
            (3, 3),
            padding="VALID",
            feature_group_count=2,
            kernel_dilation=(1, 2),
            rngs=r,
        ),
        (2, 8, 9, 4),
    ),
    "conv2d_circular": (
        lambda r: nnx.Conv(2, 3, (3, 3), padding="CIRCULAR", rngs=r),
        (2, 5, 6, 2),
    ),
    "conv2d_pads": (
        lambda r: nnx.Conv(
            2, 3, (2, 2), padding=((1, 0), (2, 1)), input_dilation=2, rngs=r
        ),
        (3, 2, 5, 4, 2),
    ),
    "depthwise": (
        lambda r: nnx.Conv(4, 8, (3, 3), feature_group_count=4, rngs=r),
        (2, 5, 5, 4),
    ),
    "conv3d": (lambda r: nnx.Conv(2, 3, (2, 2, 2), rngs=r), (2, 4, 4, 3, 2)),
    "conv_masked": (
        lambda r: nnx.Conv(2, 3, (2,), mask=_mask((2, 2, 3)), rngs=r),
        (2, 5, 2),
    ),
    "transposed": (
        lambda r: nnx.ConvTranspose(3, 4, (3, 3), strides=(2, 2), rngs=r),
        (2, 4, 5, 3),
    ),
    "transposed_valid": (
        lambda r: nnx.ConvTranspose(
            3, 4, (2, 3), strides=(3, 1), padding="VALID", transpose_kernel=True, rngs=r
        ),
        (2, 4, 5, 3),
    ),
    "transposed_pads": (
        lambda r: nnx.ConvTranspose(
            2, 3, (3,), strides=2, padding=[(1, 2)], kernel_dilation=2, rngs=r
        ),
        (2, 6, 2),
    ),
    "attention": (_mha, (2, 4, 6)),
}


EMPTY = {"general_batch": (2, 0, 3), "conv2d_pads": (3, 0, 5, 4, 2)}
"""Shapes of an empty batch where it is not the first axis that may be empty."""

NO_WINDOW = [
    ("conv2d_valid", (2, 1, 1, 4)),
    ("conv2d_valid", (2, 0, 9, 4)),
    ("conv2d", (2, 0, 6, 3)),
    ("conv1d_causal", (2, 0, 3)),
    ("transposed", (2, 0, 5, 3)),
    ("transposed_valid", (2, 0, 5, 3)),
]
"""Layers, and shapes of inputs that are too small for one position of their kernel."""


def _mask(shape):
    import jax.numpy as jnp

    return (jnp.arange(12).reshape(shape) % 3 > 0).astype(float)


CELLS = {
    "lstm": lambda r: nnx.LSTMCell(3, 4, rngs=r),
    "optimized_lstm": lambda r: nnx.OptimizedLSTMCell(3, 4, rngs=r),
    "gru": lambda r: nnx.GRUCell(3, 4, rngs=r),
    "simple": lambda r: nnx.SimpleCell(3, 4, rngs=r),
}
