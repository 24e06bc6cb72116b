"""The engine of all studies: a metric over points x chips x times, as far as needed.

A study brings points and a function of one chip, such as `AnalogNetwork.point` handed
to `one_chip`. Calls of the compiled program have one size; what is known after each
call is a `Tally`, which can be saved and gone on with.
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
"""What is known of every chip at every time, means over items."""
EVERY = 5
"""Chips between two looks at the standard error."""


class Kept(Protocol):
    """What outlives the process of a measurement that is not done."""

    def load_arrays(self) -> Arrays:
        """Arrays that were saved last, or none."""
        ...

    def save_arrays(self, values: Mapping[str, Any]) -> None:
        """Save arrays, if it is time to."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tally:
    """What chips have given so far; NaN for chips that were not taken."""

    done: np.ndarray
    """Which chips there are `[points chips]`."""
    metric: np.ndarray
    """`[points chips times]`, as all others of `MEASURES`."""
    loss: np.ndarray
    """Divergence of the digital from the analog outputs."""
    weight_rms_error: np.ndarray
    """Root mean square over all weights of (as they act - ideal) / w_max."""
    item_sum: np.ndarray
    """Metric of each item `[points times items]`, the sum over chips one by one: the
    same bits however chips are cut."""
    loss_sum: np.ndarray
    """The same of the loss."""
    subset_metric: np.ndarray
    """`[subsets points chips times]`, the mean over the items of a subset."""

    @classmethod
    def empty(cls, shape: tuple[int, int, int], items: int, subsets: int) -> "Tally":
        """Nothing of any chip.

        Args:
            shape: points, chips, times.
            items: how many.
            subsets: how many.
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
        """How many chips of each point there are `[points]`."""
        return self.done.sum(1)

    @property
    def item_metric(self) -> np.ndarray:
        """`[points times items]`, the mean over chips."""
        return self._of_items(self.item_sum)

    @property
    def item_loss(self) -> np.ndarray:
        """The same of the loss."""
        return self._of_items(self.loss_sum)

    def _of_items(self, total: np.ndarray) -> np.ndarray:
        return (total / self.taken[:, None, None]).astype(self.metric.dtype)

    def of(self, point: int) -> Arrays:
        """What is known of a point: `MEASURES`, and of items and their subsets."""
        return {
            **{n: getattr(self, n)[point] for n in MEASURES},
            "item_metric": self.item_metric[point],
            "subset_metric": self.subset_metric[:, point],
        }

    def add(self, p: int, c: int, one: Arrays, masks: list[np.ndarray]) -> None:
        """Enter what a chip of a point gave: items `[times items]`, in place."""
        self.done[p, c] = True
        self.metric[p, c] = one["metric"].mean(-1)
        self.loss[p, c] = one["loss"].mean(-1)
        self.weight_rms_error[p, c] = one["weight_rms_error"]
        self.item_sum[p] += one["metric"]
        self.loss_sum[p] += one["loss"]
        for s, mask in enumerate(masks):
            self.subset_metric[s, p, c] = one["metric"][:, mask].mean(-1)

    def error(self, p: int, chips: int) -> float:
        """Largest standard error over times of a point's first chips."""
        some = self.metric[p, :chips].astype(float)
        return float(np.max(some.std(0, ddof=1)) / np.sqrt(chips))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
    """How chips are measured: how many at once, on which devices, and when enough."""

    chunk: int = 1
    """Chips at once (vmapped) on each device, of any points: bounds the memory."""
    mesh: Mesh | None = None
    """Devices that share the chips."""
    stop_at_se: float | None = None
    """Standard error of the metric at which a point takes no more chips."""
    every: int = EVERY
    """Chips between two looks at it."""
    host: Callable[[PRNGKey, PyTree], Arrays] | None = None
    """`host(keys, shared)` in place of the function of one point, where one program
    would not hold a chip."""

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
        """What chips give at points.

        Args:
            function: `function((point, key), shared)` gives `metric` and `loss`
                `[times items]` and `weight_rms_error` `[times]`, all of them perhaps
                filled up; equal functions share a trace.
            points: pytree of arrays `[points ...]`.
            keys: of the chips `[chips]`, the same for all points, or `[points chips]`.
            shared: what all points have in common; on the mesh, if there is one.
            times: how many count.
            items: how many count.
            subsets: items `bool [items]` by name.
            whole: `whole(outputs) -> [chips times items]` of a function that gives
                `outputs` `[times items ...]` in place of `metric`.
            kept: where a tally is saved, and taken up from.
            notify: told of every call.
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
