"""Tables of `gap.py`: losses by program, and how `recommended` did."""

import csv
from pathlib import Path

import numpy as np


def table(out: Path) -> None:
    """Print the losses as Markdown, and how `recommended` did."""
    with (out / "gap.csv").open() as file:
        rows = list(csv.DictReader(file))
    every = list(dict.fromkeys(r["strategy"] for r in rows))
    print("| network, memory, time |", " | ".join(every), "| regret | digital |")
    print("|---" * (len(every) + 3) + "|")
    places = dict.fromkeys((r["network"], r["device"], r["time_s"]) for r in rows)
    for place in places:
        here = {
            r["strategy"]: r
            for r in rows
            if (r["network"], r["device"], r["time_s"]) == place
        }
        cells = [said(here[s]) if s in here else "" for s in every]
        least = min(float(r["loss"]) for r in here.values())
        mine, one = here.get("recommended"), next(iter(here.values()))
        regret = "" if mine is None else f"{float(mine['loss']) - least:.2f}"
        cells += [regret, f"{float(one['digital']):.2f}"]
        print(
            f"| {place[0]}, {place[1]}, {float(place[2]):g} s |", " | ".join(cells), "|"
        )
    behind(rows, places)


def said(row: dict) -> str:
    """A loss with its error, and the choice."""
    se = np.hypot(float(row["loss_se_chips"]), float(row["loss_se_items"]))
    note = f" ({row['chosen']})" if row["chosen"] != row["strategy"] else ""
    return f"{float(row['loss']):.2f} ± {se:.2f}{note}"


def behind(rows: list[dict], places) -> None:
    """Print how often losses and the upper ends of intervals are within the targets."""
    for name, bars in (("1 month", (2.592e6, 1.0, 1.5)), ("1 y", (3.1536e7, 2.0, 3.0))):
        seconds, most, upper = bars
        here = [
            r for r in rows
            if r["strategy"] == "recommended" and float(r["time_s"]) == seconds
        ]  # fmt: skip
        good = [
            f"{r['network']} on {r['device']}"
            for r in here
            if 100 * float(r["loss"]) / float(r["digital"]) <= most
            and 100 * float(r["high"]) / float(r["digital"]) < upper
        ]
        print(
            f"{name}: at most {most:g} % of the digital metric, upper end below "
            f"{upper:g} %: {len(good)} of {len(here)} ({'; '.join(good)})"
        )
