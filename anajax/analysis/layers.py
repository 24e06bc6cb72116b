"""Which layers to keep digital: ranked by the accuracy that this wins back."""

from collections.abc import Callable

import numpy as np


def greedy_order(
    measure: Callable[[np.ndarray, int], dict[str, np.ndarray]], count: int
) -> tuple[list[int], dict[str, np.ndarray]]:
    """The order to keep layers digital in, greedily by the mean loss.

    From all layers analog on, the layer joins the digital ones whose step to digital
    leaves the least mean loss, given those that are digital already.

    Args:
        measure: `measure(masks, step)` gives `metric` and `loss` `[masks chips]`.
        count: of layers.

    Returns:
        Indices of layers in order; `metric` and `loss` `[count + 1, chips]` with the
        first 0, 1, ... of them digital.
    """
    digital: list[int] = []
    found = measure(np.ones((1, count), bool), 0)
    rows = [{n: v[0] for n, v in found.items()}]
    for step in range(1, count + 1):
        left = [i for i in range(count) if i not in digital]
        masks = np.ones((len(left), count), bool)
        masks[:, digital] = False
        masks[np.arange(len(left)), left] = False
        found = measure(masks, step)
        best = int(np.argmin(found["loss"].mean(1)))
        digital.append(left[best])
        rows.append({n: v[best] for n, v in found.items()})
    return digital, {n: np.stack([r[n] for r in rows]) for n in rows[0]}
