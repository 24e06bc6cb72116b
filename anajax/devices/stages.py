"""The three stages of a memory, as base classes.

A stage draws samples, and gives the distribution of its samples as quadrature nodes,
from which exact moments follow. Nothing else is needed to define your own memory. The
other methods serve fits to measurements; their defaults follow from the nodes.
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
"""One time, s; in fits, an array that broadcasts against the conductances."""
Trial = Float[JArray, "..."]
"""Arrays of a fit that broadcast against each other."""


class AbstractProgramming(abc.ABC):
    """How a programmed conductance misses its target (cycle-to-cycle)."""

    exact: ClassVar[bool] = False
    """Whether every target is met."""
    floor: Any = True
    """Whether a programmed conductance is never below zero; static."""
    fitted: ClassVar[bool] = True
    """Whether this law can be fitted, which is not so for one of few values."""

    @abc.abstractmethod
    def sample(self, target: G, *, key: PRNGKey) -> G:
        """Programmed conductances (uS, not negative) for `target` (uS)."""

    @abc.abstractmethod
    def nodes(self, target: G) -> Nodes:
        """Quadrature of the programmed conductance, one set of nodes per target."""

    def score(self, target: G, programmed: G) -> Score:
        """Measured programmed values as standard normal variables, for fits.

        By default computed from the nodes. Override this method for a law with a
        formula: fits are then faster, and exact.

        Args:
            target: uS, `[cells]`.
            programmed: uS, `[cells]`.
        """
        return quadrature.score(self.nodes(target), programmed)


class AbstractDrift(abc.ABC):
    """How a programmed conductance changes with time (device-to-device).

    In a fit, each cell has one unknown number, over which its likelihood is integrated.
    By default it is the rank of the cell, a standard normal variable: cells are assumed
    to keep their order at all times, as they do if the state is one number and the
    conductance increases with it. For an exact fit of a drift whose state is one number
    of any distribution, override `state_range`, `log_prior` and `along`.
    """

    exact: ClassVar[bool] = False
    """Whether conductances stay as programmed."""
    needs_positive: ClassVar[bool] = False
    """Whether cells programmed to zero carry no information about the drift."""

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
        """Range of the state: so many spreads on both sides of the center.

        Beyond 7, the neglected probability is 1e-11.
        """
        return jnp.full_like(target, -spreads), jnp.full_like(target, spreads)

    def log_prior(self, target: Trial, state: Trial) -> Trial:
        """Log density of the state in a fit: by default one standard normal number."""
        del target
        return norm.logpdf(state)

    def along(
        self, target: Trial, programmed: Trial, state: Trial, *, t: Trial
    ) -> Trial:
        """Conductances `[cells states times]`, uS, of trial states in a fit.

        Args:
            target: uS, `[cells 1 1]`.
            programmed: uS, `[cells 1 1]`.
            state: one number per state, `[cells states 1]`.
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
        """What a measurement right after programming shows, uS: the programmed value.

        Args:
            programmed: uS.
            g: conductance at time 0, uS.
        """
        del g
        return programmed

    def share_constants(self, programming: Any) -> tuple[Any, Any]:
        """Both stages, with shared constants made equal: none by default.

        Args:
            programming: the `AbstractProgramming` of the same device.
        """
        return programming, self

    def shared(self, programming: Any) -> Mapping[str, int | None]:
        """Dotted names of leaves set by `share_constants`: one row, or all (None).

        They are not parameters of a fit.
        """
        del programming
        return {}

    def likelihood(self) -> Any:
        """The likelihood of whole cells that differ by more than one number, or None.

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
