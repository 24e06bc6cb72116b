"""Figures of the gap to digital, from the table of `benchmarks/gap.py`.

python benchmarks/gap_figures.py --table OUT/gap.csv --out FIGURES
python benchmarks/gap_figures.py --overview OUT/overview.csv --out FIGURES

`gap` shows the losses of a few programs on each network and memory at each time, in %
of the digital metric with 95 % intervals over chips and items, one column wide in
print; `slide` is the same for a slide. `curves` shows the metric of these programs over
time, one page wide. Each is written as PNG, SVG and PDF. "Best by hand" is the best
hand-designed strategy: in `gap` at each time, on the same test items and chips; in
`curves` by the mean over times. With a table of `anajax overview`, only the first two
are drawn, from what the table has, by the names `overview` and `overview_slide`.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anajax.studies import names
from anajax.studies.kinds.strategies_figures import BY_HAND, LOOK, RECOMMENDED, RING
from anajax.studies.report import gaps, plots

HANDS = ("lsp_first_f2", "lsp_first_f4", "lsp_first_tuned")
ROLE = {
    "single_pair": "single pair", "optimized": "least weight error",
    "targets": "learned targets", "recommended": RECOMMENDED,
}  # fmt: skip
"""Roles of the strategies in the table, except hand-designed ones."""
PANEL = 3.1, 1.7
"""Size of a panel of `curves` in inches."""
Z95 = 1.96
"""Standard errors of a 95 % interval."""
Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """The rows of all networks on memories that have every program.

    Rows are written while studies run: a network on a memory that lacks a program is
    not finished, and is left out.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    known: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        known.setdefault((row["network"], row["device"]), set()).add(row["strategy"])
    done = {place for place, there in known.items() if {*HANDS, *ROLE} <= there}
    for place in sorted(known.keys() - done):
        print(f"not finished, left out: {' on '.join(place)}")
    return [row for row in rows if (row["network"], row["device"]) in done]


# --- the gap --------------------------------------------------------------------------


def gaps_of(rows: Sequence[Row]) -> list[gaps.Gap]:
    """The gaps in the table for the figure."""
    made = []
    for network, device, seconds in dict.fromkeys(map(_place, rows)):
        here = [r for r in rows if _place(r) == (network, device, seconds)]
        best = min(
            (r for r in here if r["strategy"] in HANDS), key=lambda r: float(r["loss"])
        )
        shown = {ROLE[r["strategy"]]: r for r in here if r["strategy"] in ROLE}
        for role, row in ({BY_HAND: best} | shown).items():
            share = 100 / abs(float(row["digital"]))
            low, high = share * float(row["low"]), share * float(row["high"])
            made.append(
                gaps.Gap(
                    network=network, device=device, role=role, time=float(seconds),
                    loss=share * float(row["loss"]), half=(high - low) / 2,
                )
            )  # fmt: skip
    return made


def of_overview(path: Path) -> list[Row]:
    """Rows of a table of `anajax overview`, over all items, at the times shown."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = []
    for row in rows:
        if row["items_of"] == "all" and float(row["time_s"]) in gaps.TIMES:
            loss, half = float(row["loss"]), Z95 * float(row["loss_error"])
            shown.append(row | {"low": str(loss - half), "high": str(loss + half)})
    return shown


def _place(row: Row) -> tuple[str, str, str]:
    return row["network"], row["device"], row["time_s"]


# --- the curves -----------------------------------------------------------------------


def curves(rows: Sequence[Row]) -> Figure:
    """The metric over time: networks are rows, memories columns."""
    networks = list(dict.fromkeys(r["network"] for r in rows))
    devices = list(dict.fromkeys(r["device"] for r in rows))
    parts: list[plots.Panel] = []
    for network in networks:
        for device in devices:
            here = [r for r in rows if (r["network"], r["device"]) == (network, device)]
            first = not parts, device == devices[0]
            above = f"{names.device(device)}\n" * (network == networks[0])
            title = above + names.upper(names.network(network)) * first[1]
            parts.append((title, _drawing(here)))
    drawn = plots.panels(
        parts,
        columns=len(devices),
        size=PANEL,
        xlabel="time after programming",
        note="mean ± standard error over chips",
        legend=3,
    )
    for row in range(len(networks)):
        _one_range(
            drawn.axes[row * len(devices) :][: len(devices)], rows, networks[row]
        )
    return drawn


def _drawing(here: Sequence[Row]) -> Callable[[Axes], None]:
    return lambda axis: _curves(axis, here) if here else axis.set_axis_off()


def _curves(axis: Axes, here: Sequence[Row]) -> None:
    by = {s: [r for r in here if r["strategy"] == s] for s in (*HANDS, *ROLE)}
    best = min(HANDS, key=lambda s: np.mean([float(r["loss"]) for r in by[s]]))
    digital, metric = float(here[0]["digital"]), here[0]["metric"]
    axis.axhline(digital, color="black", lw=1, label="digital")
    chosen = by[RECOMMENDED][0]["chosen"]
    shown = {best: BY_HAND} | {s: r for s, r in ROLE.items() if s != RECOMMENDED}
    shown |= {} if chosen in shown else {RECOMMENDED: RECOMMENDED}
    times = np.array([float(r["time_s"]) for r in by[best]])
    step = (times[-1] / times[0]) ** 0.008
    for i, (strategy, role) in enumerate(shown.items()):
        mean, error = (
            np.array([float(r[column]) for r in by[strategy]])
            for column in ("mean", "loss_se_chips")
        )
        look = LOOK.get(role, {"color": "black", **RING})
        x = times * step ** (i - (len(shown) - 1) / 2)
        axis.errorbar(
            x, mean, error, label=role, capsize=2, lw=1.5,
            **({"markersize": 5} | look),
        )  # fmt: skip
        if strategy == chosen:
            axis.plot(x, mean, ls="none", color="black", label=RECOMMENDED, **RING)
    unit = "accuracy (%)" if metric == "accuracy" else metric.replace("_", " ")
    axis.set_ylabel(unit)
    plots.time_axis(axis, times, np.zeros(len(times), bool), width=PANEL[0])


def _one_range(axes: Sequence[Axes], rows: Sequence[Row], network: str) -> None:
    """Set the range of a network's panels; only a single pair may lie outside it."""
    some = [r for r in rows if r["network"] == network]
    values = [float(some[0]["digital"])]
    for row in some:
        if row["strategy"] != "single_pair":
            mean, error = float(row["mean"]), float(row["loss_se_chips"])
            values += [mean - error, mean + error]
    low, high = min(values), max(values)
    room = max(0.12 * (high - low), 0.003 * abs(high))
    for axis in axes:
        if axis.axison:
            axis.set_ylim(low - room, high + room)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--table", type=Path)
    either.add_argument("--overview", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows = read(args.table) if args.table else of_overview(args.overview)
    found = gaps_of(rows)
    name, slide = ("gap", "slide") if args.table else ("overview", "overview_slide")
    drawn: dict[str, Callable[[], Figure]] = {
        name: lambda: gaps.figure(found),
        slide: lambda: gaps.figure(found, slide=True),
    }
    if args.table:
        drawn["curves"] = lambda: curves(rows)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, draw in drawn.items():
        for kind, content in plots.render(draw, ("png", "svg", "pdf")).items():
            (args.out / f"{name}.{kind}").write_bytes(content)


if __name__ == "__main__":
    main()
