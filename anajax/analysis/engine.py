"""The engine of all studies: a metric over points x chips x times, as far as needed.

A study provides points and a function of one chip, such as `AnalogNetwork.point` passed
to `one_chip`. Calls of the compiled function have one size; the results after each call
are a `Tally`, which can be saved and continued.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.points import calls_of, in_one_call

Arrays = dict[str, np.ndarray]
MEASURES = ("metric", "loss", "weight_rms_error")
"""What is measured for every chip at every time, as means over items."""
EVERY = 5
"""Number of chips between two checks of the standard error."""


class Kept(Protocol):
    """Storage for a measurement that outlives its process."""

    def load_arrays(self) -> Arrays:
        """The arrays that were saved last, or none."""
        ...

    def save_arrays(self, values: Mapping[str, Any]) -> None:
        """Save arrays, if it is time to."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tally:
    """Results of the chips so far; NaN for chips not measured yet."""

    done: np.ndarray
    """Which chips are done `[points chips]`."""
    metric: np.ndarray
    """`[points chips times]`, like all others of `MEASURES`."""
    loss: np.ndarray
    """Divergence of the analog outputs from the digital ones."""
    weight_rms_error: np.ndarray
    """Root mean square over all weights of (effective - ideal) / w_max."""
    item_sum: np.ndarray
    """Metric of each item `[points times items]`, summed chip by chip: the result is
    bit-identical for any chunks."""
    loss_sum: np.ndarray
    """The same for the loss."""
    subset_metric: np.ndarray
    """`[subsets points chips times]`, the mean over the items of a subset."""

    @classmethod
    def empty(cls, shape: tuple[int, int, int], items: int, subsets: int) -> "Tally":
        """A tally without results.

        Args:
            shape: numbers of points, chips and times.
            items: number of items.
            subsets: number of subsets.
        """
        points, chips, times = shape
        return cls(
            done=np.zeros((points, chips), bool),
            item_sum=np.zeros((points, times, items)),
            loss_sum=np.zeros((points, times, items)),
            subset_metric=np.full((subsets, *shape), np.nan, np.float32),
            **{n: np.full(shape, np.nan, np.float32) for n in MEASURES},
        )

    @property
    def taken(self) -> np.ndarray:
        """Number of chips measured at each point `[points]`."""
        return self.done.sum(1)

    @property
    def item_metric(self) -> np.ndarray:
        """`[points times items]`, averaged over chips."""
        return self._of_items(self.item_sum)

    @property
    def item_loss(self) -> np.ndarray:
        """The same for the loss."""
        return self._of_items(self.loss_sum)

    def _of_items(self, total: np.ndarray) -> np.ndarray:
        return (total / self.taken[:, None, None]).astype(self.metric.dtype)

    def of(self, point: int) -> Arrays:
        """The results at a point: `MEASURES`, and those of items and subsets."""
        return {
            **{n: getattr(self, n)[point] for n in MEASURES},
            "item_metric": self.item_metric[point],
            "subset_metric": self.subset_metric[:, point],
        }

    def add(self, p: int, c: int, one: Arrays, masks: list[np.ndarray]) -> None:
        """Add the result of a chip at a point: items `[times items]`, in place."""
        self.done[p, c] = True
        self.metric[p, c] = one["metric"].mean(-1)
        self.loss[p, c] = one["loss"].mean(-1)
        self.weight_rms_error[p, c] = one["weight_rms_error"]
        self.item_sum[p] += one["metric"]
        self.loss_sum[p] += one["loss"]
        for s, mask in enumerate(masks):
            self.subset_metric[s, p, c] = one["metric"][:, mask].mean(-1)

    def error(self, p: int, chips: int) -> float:
        """Largest standard error over times, for the first chips of a point."""
        some = self.metric[p, :chips].astype(float)
        return float(np.max(some.std(0, ddof=1)) / np.sqrt(chips))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
    """How chips are measured: how many at once, where, and when to stop."""

    chunk: int = 1
    """Chips at once (vmapped) on each accelerator, from any points: limits the memory.
    """
    mesh: Mesh | None = None
    """Accelerators that share the chips."""
    stop_at_se: float | None = None
    """Standard error of the metric at which no more chips are measured at a point."""
    every: int = EVERY
    """Number of chips between two checks of it."""
    host: Callable[[PRNGKey, PyTree], Arrays] | None = None
    """`host(keys, shared)`, used instead of the function of one point if a single
    compiled function cannot hold a chip."""

    def measure(
        self,
        function: Callable[[Any, Any], Any],
        points: PyTree,
        keys: PRNGKey,
        shared: PyTree,
        *,
        times: int,
        items: int,
        subsets: Mapping[str, Any] | None = None,
        whole: Callable[[np.ndarray], np.ndarray] | None = None,
        kept: Kept | None = None,
        notify: Callable[[Tally], None] = lambda tally: None,
    ) -> Tally:
        """Results of chips at points.

        Args:
            function: `function((point, key), shared)` gives `metric` and `loss` `[times
                items]` and `weight_rms_error` `[times]`, possibly padded; equal
                functions share a trace.
            points: pytree of arrays `[points ...]`.
            keys: keys of the chips `[chips]`, the same for all points, or `[points
                chips]`.
            shared: data common to all points; on the mesh, if there is one.
            times: number of valid times.
            items: number of valid items.
            subsets: items `bool [items]` by name.
            whole: `whole(outputs) -> [chips times items]`, for a function that returns
                `outputs` `[times items ...]` instead of `metric`.
            kept: storage from which a tally is loaded and where it is saved.
            notify: called at every call.
        """
        masks = [np.asarray(mask, bool) for mask in (subsets or {}).values()]
        count, chips = len(jax.tree.leaves(points)[0]), keys.shape[-1]
        begun = kept.load_arrays() if kept else {}
        tally = Tally.empty((count, chips, times), items, len(masks))
        tally = Tally(**begun) if begun else tally  # pyright: ignore
        chunk, call = calls_of(count * chips, self.chunk, self.mesh)
        for some in self._calls(tally, call):
            p, c = np.array(some + some[-1:] * (call - len(some))).T
            own = keys[c] if keys.ndim == 1 else keys[p, c]
            full = jax.tree.map(lambda v, p=p: v[p], points), own
            how: Any = {"chunk": chunk, "mesh": self.mesh}
            if self.host is None:
                got = in_one_call(function, full, shared, **how)
            else:
                got = self.host(own, shared)
            got = {name: np.asarray(v)[:, :times] for name, v in got.items()}
            for name in ("metric", "outputs", "loss"):
                if name in got:
                    got[name] = got[name][:, :, :items]
            if whole is not None and "outputs" in got:
                got["metric"] = whole(got.pop("outputs")[: len(some)])
            for k, (p, c) in enumerate(some):
                tally.add(p, c, {n: v[k] for n, v in got.items()}, masks)
            if kept:
                kept.save_arrays(vars(tally))
            notify(tally)
        return tally

    def _calls(self, tally: Tally, call: int) -> Iterator[list[tuple[int, int]]]:
        """Points and chips of each call that is not done."""
        points, chips = tally.done.shape
        active = list(range(points))
        every = chips if self.stop_at_se is None else self.every
        for first in range(0, chips, every):
            end = min(first + every, chips)
            pairs = [(p, c) for p in active for c in range(first, end)]
            pairs = [pair for pair in pairs if not tally.done[pair]]
            yield from (pairs[i : i + call] for i in range(0, len(pairs), call))
            if self.stop_at_se is not None:
                active = [p for p in active if tally.error(p, end) > self.stop_at_se]
