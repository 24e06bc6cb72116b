"""The three stages of a memory, as classes to derive from.

A stage draws samples, and has the law of what it draws as quadrature nodes, from which
exact moments follow. That is all that a memory of one's own has to define. The other
methods serve fits to measurements; what they do by default follows from the nodes.
"""

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core.types import PRNGKey, PyTree
from anajax.devices import quadrature
from anajax.devices.quadrature import Nodes, Score

if TYPE_CHECKING:
    Number = Any
    Numbers = Any
else:  # constructors also take Python numbers and lists
    Number = Float[JArray, "*sweep"] | Float[np.ndarray, "*sweep"] | float
    Numbers = Float[JArray, "*sweep points"] | np.ndarray | list[float]

G = Float[JArray, "*cells"]
"""Conductances, uS."""
Time = Float[JArray, "..."] | float | int
"""One time, s; in fits an array that broadcasts against the conductances."""
Trial = Float[JArray, "..."]
"""Arrays of a fit that broadcast against each other."""


class AbstractProgramming(abc.ABC):
    """How a programmed conductance misses its target (cycle-to-cycle, fresh)."""

    exact: ClassVar[bool] = False
    """Whether every target is met."""
    floor: Any = True
    """Whether a programmed conductance is never below zero; static."""
    fitted: ClassVar[bool] = True
    """Whether this law can be fitted: not one of few values."""

    @abc.abstractmethod
    def sample(self, target: G, *, key: PRNGKey) -> G:
        """Programmed conductances (uS, not negative) for `target` (uS)."""

    @abc.abstractmethod
    def nodes(self, target: G) -> Nodes:
        """Quadrature of the programmed conductance, one set of nodes per target."""

    def score(self, target: G, programmed: G) -> Score:
        """Measured programmed values as standard normal variables, for fits.

        By default from the nodes. A law with a formula is fitted faster, and exactly,
        if it overrides this method.

        Args:
            target: uS, `[cells]`.
            programmed: uS, `[cells]`.
        """
        return quadrature.score(self.nodes(target), programmed)


class AbstractDrift(abc.ABC):
    """How a programmed conductance changes with time (device-to-device, frozen).

    In a fit each cell has one unknown number, over which its reads are integrated. By
    default it is the rank of the cell, a standard normal variable: cells are taken to
    keep their order at all times, as they do where the state is one number and the
    conductance increases with it. A drift whose state is one number of any law
    overrides `state_range`, `log_prior` and `along`, and is fitted exactly.
    """

    exact: ClassVar[bool] = False
    """Whether conductances stay as programmed."""
    needs_positive: ClassVar[bool] = False
    """Whether cells that were programmed to zero tell nothing of the drift."""

    @abc.abstractmethod
    def init(self, target: G, programmed: G, *, key: PRNGKey) -> PyTree:
        """The state of each cell: all that differs between cells, drawn once."""

    @abc.abstractmethod
    def evolve(self, target: G, programmed: G, state: PyTree, *, t: Time) -> G:
        """Conductances (uS) at `t` (s) of cells in this state."""

    def start(self, target: G, programmed: G, state: PyTree) -> G:
        """Conductances (uS) of cells in this state at 0 s."""
        return self.evolve(target, programmed, state, t=0.0)

    @abc.abstractmethod
    def nodes(self, target: G, programmed: G, *, t: Time) -> Nodes:
        """Quadrature of the conductance at `t` over the states of cells."""

    def state_range(self, target: G, spreads: float = 7.0) -> tuple[G, G]:
        """Range of the state, so many spreads on both sides.

        Beyond 7, what is left out has a probability of 1e-11.
        """
        return jnp.full_like(target, -spreads), jnp.full_like(target, spreads)

    def log_prior(self, target: Trial, state: Trial) -> Trial:
        """Log density of the state in a fit: of one number, a normal one by default."""
        del target
        return norm.logpdf(state)

    def along(
        self, target: Trial, programmed: Trial, state: Trial, *, t: Trial
    ) -> Trial:
        """Conductances `[cells states times]`, uS, of trial states in a fit.

        Args:
            target: uS, `[cells 1 1]`.
            programmed: uS, `[cells 1 1]`.
            state: one number each, `[cells states 1]`.
            t: s, `[cells 1 times]`.
        """
        each = jax.vmap(jax.vmap(self._at, (None, None, 0)))
        law = each(target[:, 0, 0], programmed[:, 0, 0], t[:, 0, :])
        shape = (*t.shape[::2], state.shape[1])  # cells, times, states
        ranks = jnp.broadcast_to(state[..., 0][:, None, :], shape)
        return jnp.swapaxes(quadrature.quantile(law, ranks), 1, 2)

    def score(self, target: G, programmed: G, g: G, *, t: G) -> Score:
        """Conductances without read noise as standard normal variables, for fits.

        Args:
            target: uS, `[cells]`.
            programmed: uS, `[cells]`.
            g: as measured at `t`, uS, `[cells]`.
            t: s, `[cells]`.
        """
        return quadrature.score(jax.vmap(self._at)(target, programmed, t), g)

    def first_shown(self, programmed: G, g: G) -> G:
        """What a measurement right after programming shows, uS: what was programmed.

        Args:
            programmed: uS.
            g: conductance at time 0, uS.
        """
        del g
        return programmed

    def share_constants(self, programming: Any) -> tuple[Any, Any]:
        """Both stages, with constants that stand in both made equal: none by default.

        Args:
            programming: the `AbstractProgramming` of the same device.
        """
        return programming, self

    def shared(self, programming: Any) -> Mapping[str, int | None]:
        """Dotted names of leaves that `share_constants` sets: one row, or all (None).

        They are no parameters of a fit.
        """
        del programming
        return {}

    def likelihood(self) -> Any:
        """How whole cells are fitted, if not by one number each; None by default.

        A `fitting.likelihood.AbstractLikelihood`, for memories of another nature.
        """
        return None

    def _at(self, target: G, programmed: G, t: G) -> Nodes:
        return self.nodes(target, programmed, t=t)


class AbstractRead(abc.ABC):
    """Noise of one read-out: Gaussian of known deviation, then floored at zero."""

    exact: ClassVar[bool] = False
    """Whether reads return the conductance itself."""

    @abc.abstractmethod
    def sd(self, g: G, *, target: G, programmed: G, t: Time) -> G:
        """Standard deviation (uS, not negative) of a read of `g` at `t`."""
