"""Recurrent networks in plain Flax: cells, a scan over time, and output layers."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array as JArray
from jaxtyping import Float, Int

from anajax._core.types import Array


class PeepholeCell(nnx.Module):
    """LSTM cell with peepholes and a projection (Sak et al., 2014).

    One product with `[x, h]` gives the four gates in the order input, candidate,
    forget, output; the constant offset of the forget gate is part of the bias. The cell
    state enters the gates through three vectors (peepholes), elementwise.

        i = s(z_i + w_i c)   f = s(z_f + w_f c)   c' = f c + i tanh(z_j)
        o = s(z_o + w_o c')  h' = (o tanh(c')) P
    """

    def __init__(self, inputs: int, hidden: int, projected: int, *, rngs: nnx.Rngs):
        self.gates = nnx.Linear(inputs + projected, 4 * hidden, rngs=rngs)
        self.projection = nnx.Linear(hidden, projected, use_bias=False, rngs=rngs)
        self.peep_i = nnx.Param(jnp.zeros(hidden))
        self.peep_f = nnx.Param(jnp.zeros(hidden))
        self.peep_o = nnx.Param(jnp.zeros(hidden))
        self.hidden, self.projected = hidden, projected

    def __call__(
        self, carry: tuple[Array, Array], x: Float[JArray, "n inputs"]
    ) -> tuple[tuple[Array, Array], Float[JArray, "n projected"]]:
        """One step from `(c [n hidden], h [n projected])` to the next, and `h`."""
        c, h = carry
        z = self.gates(jnp.concatenate([x, h], axis=-1))
        i, j, f, o = jnp.split(z, 4, axis=-1)
        kept = jax.nn.sigmoid(f + self.peep_f[...] * c) * c
        c = kept + jax.nn.sigmoid(i + self.peep_i[...] * c) * jnp.tanh(j)
        o = jax.nn.sigmoid(o + self.peep_o[...] * c)
        h = self.projection(o * jnp.tanh(c))
        return (c, h), h

    def start(self, x: Float[JArray, "n *rest"]) -> tuple[Array, Array]:
        """The zero state for inputs like `x`."""
        shape = x.shape[:1]
        zeros = jnp.zeros((*shape, self.hidden), x.dtype)
        return zeros, jnp.zeros((*shape, self.projected), x.dtype)


def run_cell(
    cell: Any, start: tuple[Array, Array], x: Float[JArray, "n time inputs"]
) -> Float[JArray, "n time hidden"]:
    """Outputs of `cell` at each time step: a scan over the second axis of `x`."""
    _, outputs = jax.lax.scan(cell, start, jnp.swapaxes(x, 0, 1))
    return jnp.swapaxes(outputs, 0, 1)


def run_lstm(
    cell: nnx.OptimizedLSTMCell, x: Float[JArray, "n time inputs"]
) -> Float[JArray, "n time hidden"]:
    """Outputs of Flax's LSTM cell from the zero state."""
    zeros = jnp.zeros((x.shape[0], cell.hidden_features), x.dtype)
    return run_cell(cell, (zeros, zeros), x)


class KeywordNet(nnx.Module):
    """A peephole LSTM over frames, read at its last output (Zhang et al., 2017)."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        projected: int,
        classes: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.cell = PeepholeCell(inputs, hidden, projected, rngs=rngs)
        self.linear = nnx.Linear(projected, classes, rngs=rngs)

    def __call__(self, x: Float[JArray, "n time inputs"]) -> Float[JArray, "n classes"]:
        """Logits of the clips `x`."""
        return self.linear(run_cell(self.cell, self.cell.start(x), x)[:, -1])


class DigitNet(nnx.Module):
    """One LSTM layer over frames, with a linear layer on its last output."""

    def __init__(self, inputs: int, hidden: int, classes: int, *, rngs: nnx.Rngs):
        self.lstm = nnx.OptimizedLSTMCell(inputs, hidden, rngs=rngs)
        self.linear = nnx.Linear(hidden, classes, rngs=rngs)

    def __call__(self, x: Float[JArray, "n time inputs"]) -> Float[JArray, "n classes"]:
        """Logits of the clips `x`."""
        return self.linear(run_lstm(self.lstm, x)[:, -1])


class CharacterNet(nnx.Module):
    """Embedding, two LSTM layers and a linear layer: a character language model."""

    def __init__(self, symbols: int, width: int, hidden: int, *, rngs: nnx.Rngs):
        self.embed = nnx.Embed(symbols, width, rngs=rngs)
        self.lstm1 = nnx.OptimizedLSTMCell(width, hidden, rngs=rngs)
        self.lstm2 = nnx.OptimizedLSTMCell(hidden, hidden, rngs=rngs)
        self.linear = nnx.Linear(hidden, symbols, rngs=rngs)

    def __call__(self, x: Int[JArray, "n time"]) -> Float[JArray, "n time symbols"]:
        """Logits of the character after each of `x`, from the zero state."""
        return self.linear(run_lstm(self.lstm2, run_lstm(self.lstm1, self.embed(x))))
