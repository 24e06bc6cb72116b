"""Low-rank digital adapters that correct the errors of a chip, without training.

Each analog product gets a parallel digital product of low rank, y = x W' + (x A) B.
With A the first principal directions of the inputs (the same for all chips, from
`transformation.second_moments`) and B = A' (W - W'), the error x (W - W') vanishes for
inputs in these directions, which hold most of their power. B is measured on the chip
from its products with the columns of A.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks

ROUNDS, MORE = 30, 2
"""Rounds of the subspace iteration, and extra directions as a multiple of the rank."""


def principal_directions(
    moments: Float[JArray, "layers rows rows"] | np.ndarray, rank: int
) -> Float[JArray, "layers rows rank"]:
    """The orthonormal directions in which inputs have the most power, in order.

    Args:
        moments: mean of x x' of the inputs of each layer.
        rank: number of directions.

    Raises:
        ValueError: if there are fewer than `rank` inputs.

    Example:
        >>> principal_directions(jnp.diag(jnp.array([1.0, 4.0, 2.0]))[None], 2).shape
        (1, 3, 2)
    """
    checks.whole("rank", rank, least=1)
    moments = jnp.asarray(moments)
    rows = moments.shape[-1]
    if rank > rows:
        checks.fail("rank", f"be at most {rows}, the inputs", rank, "Take fewer.")
    return _directions(moments, rank)


@functools.partial(jax.jit, static_argnames="rank")
def _directions(moments: JArray, rank: int) -> JArray:
    layers, rows, _ = moments.shape
    size = min(rows, MORE * rank)
    start = jax.random.normal(jax.random.key(0), (layers, rows, size), moments.dtype)

    def closer(_: int, q: JArray) -> JArray:
        return jnp.linalg.qr(_product(moments, q))[0]

    q = jax.lax.fori_loop(0, ROUNDS, closer, start)
    _, turn = jnp.linalg.eigh(_product(jnp.swapaxes(q, 1, 2), _product(moments, q)))
    return _product(q, turn)[..., ::-1][..., :rank]


def measured_adapters(
    weights: Float[JArray, "layers rows columns"],
    read: Float[JArray, "layers rows columns"],
    directions: Float[JArray, "layers rows rank"],
) -> Float[JArray, "layers rank columns"]:
    """The B of adapters: the errors of a chip's products in each of some directions.

    Args:
        weights: trained weights.
        read: weights of the chip, averaged over read-outs.
        directions: A, from `principal_directions`.
    """
    return _product(jnp.swapaxes(directions, 1, 2), weights - read)


def _product(a: JArray, b: JArray) -> JArray:
    return jnp.matmul(a, b, precision="highest")
