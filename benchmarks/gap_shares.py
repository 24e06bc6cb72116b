"""More test items for a network of `gap.py`, on the same chips and programs.

Share 0 of a network has the first `--items` test items, share 1 the next ones, and so
on. A share takes over what was searched, learned, and chosen by share 0, which sees no
test item, and measures each program on the same chips; the rows are those of all items
so far.
"""

import dataclasses
import shutil
from pathlib import Path

import numpy as np

TAKEN = ("study.json", "strategy.json", "targets", "parts/choice-*")
"""Files of a study that depend on no test item."""


def folder(out: Path, name: str, device: str, share: int) -> Path:
    """Folder of the study of a share of the test items."""
    return out / "studies" / (f"{name}-{device}" + (f"-{share}" if share else ""))


def items_of(work, items: int | None, share: int):
    """The workload with the test items of a share only.

    Raises:
        SystemExit: if there are none.
    """
    if not share:
        return work
    if items is None or len(work.x) <= items * share:
        raise SystemExit(
            f"--share {share} needs --items, and more than --items times --share test "
            f"items: got --items {items} and {len(work.x)} test items."
        )
    some = slice(items * share, items * (share + 1))
    return dataclasses.replace(work, x=work.x[some], y=work.y[some])


def take_over(out: Path, name: str, device: str, share: int) -> None:
    """Begin a share with what share 0 searched, learned, and chose.

    Raises:
        SystemExit: if share 0 is not finished.
    """
    first, here = (folder(out, name, device, number) for number in (0, share))
    if not share or here.exists():
        return
    if not (first / "results.nc").exists():
        raise SystemExit(f"--share {share} needs a finished share 0: got none in {out}")
    new = here.with_name(here.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    for path in (found for pattern in TAKEN for found in first.glob(pattern)):
        to = new / path.relative_to(first)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(path, to) if path.is_dir() else shutil.copy(path, to)
    new.rename(here)


def merged(shares: list[dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Metric per chip and time, and per time and item, over all items of some shares.

    Args:
        shares: arrays of one program on each share.

    Returns:
        Shapes `[chips, times]` and `[times, items]`; chips that were not needed are
        left out.
    """
    numbers = [share["item_metric"].shape[1] for share in shares]
    metric = [share["metric"].astype(float) for share in shares]
    of_chips = np.average(metric, axis=0, weights=numbers)
    of_items = [share["item_metric"].astype(float) for share in shares]
    kept = ~np.isnan(of_chips[:, 0])
    return of_chips[kept], np.concatenate(of_items, axis=1)
