"""Is `recommended` ever worse than the best by hand, and how far from the best is it?

From the studies finished by `gap.py run`: the difference of losses on the same chips
and items, with its standard error over both. The best hand-designed strategy is the
best on the test set itself, so chance favors it over `recommended`.

    python benchmarks/gap_judge.py --out DIR [--csv benchmarks/results/gap_judge.csv]
    python benchmarks/gap_judge.py --table benchmarks/results/gap.csv    # Markdown
"""

import argparse
import csv
import math
from pathlib import Path

import numpy as np
import xarray as xr
from gap import HANDS
from gap_figures import read

from anajax.studies import names
from anajax.studies.report.results import read_results

FIELDS = (
    "network", "device", "time_s", "chosen", "best_hand", "worse_by", "se", "z",
    "best", "regret", "regret_se",
)  # fmt: skip
MONTH = 2.592e6
COLUMNS = (
    "single pair", "best hand-designed", "minimum weight error",
    "recommended (95 % interval)", "which is",
)  # fmt: skip
NAMES = ["lsp_first_f2", "lsp_first_f4", "lsp_first_tuned"]
ONE_SIDED = 0.5 * math.erfc(2 / math.sqrt(2))
"""Probability of being worse by over two standard errors by chance alone, 2.3 %."""


def shares(folder: Path) -> list[Path]:
    """Finished studies of further test items, see gap_shares.py."""
    return sorted(p.parent for p in folder.parent.glob(f"{folder.name}-?/results.nc"))


def rows_of(folder: Path):
    """The comparisons of one network on one memory, one per time."""
    parts = [read_results(f).isel(device=0) for f in (folder, *shares(folder))]
    data, name = parts[0], parts[0].attrs["metric"]
    factor = -1.0 if data.attrs["better"] == "higher" else 1.0
    factor *= 100.0 if name == "accuracy" else 1.0
    each = [part[f"item_{name}"].astype(float) for part in parts]
    items = xr.concat(each, "item", coords="minimal", compat="override", join="exact")
    chips = sum(
        part[name].astype(float) * (one.sizes["item"] / items.sizes["item"])
        for part, one in zip(parts, each, strict=True)
    )
    other = [s for s in map(str, data.strategy.values) if "digital" not in s]

    def behind(second: str, j: int) -> tuple[float, float]:
        """How much more `recommended` loses than another program, with its error."""
        first = {"strategy": "recommended"}
        c = factor * (chips.sel(first) - chips.sel(strategy=second)).values[:, j]
        i = factor * (items.sel(first) - items.sel(strategy=second)).values[j]
        c = c[~np.isnan(c)]
        errors = (v.std(ddof=1) / math.sqrt(len(v)) for v in (c, i))
        return float(c.mean()), math.hypot(*errors)

    for j, time in enumerate(data.time.values):
        lost = {s: factor * float(chips.sel(strategy=s)[:, j].mean()) for s in other}
        hand = min(NAMES, key=lambda s: lost[s])
        best = min((s for s in other if s != "recommended"), key=lambda s: lost[s])
        worse, se = behind(hand, j)
        regret = behind(best, j)
        z = worse / se if se else 0.0
        numbers = f"{worse:.4f}", f"{se:.4f}", f"{z:.2f}"
        yield [
            data.attrs["workload"], str(data.device.values), f"{time:g}",
            str(data.recommended.values.ravel()[0]), hand, *numbers,
            best, *(f"{v:.4f}" for v in regret),
        ]  # fmt: skip


def table(path: Path) -> None:
    """Losses of finished networks after a month and a year, as Markdown."""
    rows = read(path)
    print("| network, memory | digital | after | " + " | ".join(COLUMNS) + " |")
    print("|---" * (3 + len(COLUMNS)) + "|")
    places = dict.fromkeys((r["network"], r["device"], r["time_s"]) for r in rows)
    before = None
    for network, device, seconds in places:
        if float(seconds) < MONTH:
            continue
        here = [r for r in rows if _place(r) == (network, device, seconds)]
        by = {r["strategy"]: r for r in here}
        hand = min((by[s] for s in NAMES), key=lambda r: float(r["loss"]))
        share = 100 / abs(float(hand["digital"]))
        chosen = by["recommended"]
        low, high = (share * float(chosen[n]) for n in ("low", "high"))
        cells = [
            *(_loss(r, share) for r in (by["single_pair"], hand, by["optimized"])),
            f"{share * float(chosen['loss']):.2f} ({low:.2f} to {high:.2f})",
            names.PROGRAMS.get(chosen["chosen"], f"`{chosen['chosen']}`"),
        ]
        name = f"{names.upper(names.network(network))}, {names.device(device)}"
        first = [name, f"{float(hand['digital']):.4g}"] if name != before else ["", ""]
        after = "month" if float(seconds) == MONTH else "year"
        print("|", " | ".join([*first, after, *cells]), "|")
        before = name


def _place(row: dict[str, str]) -> tuple[str, str, str]:
    return row["network"], row["device"], row["time_s"]


def _loss(row: dict[str, str], share: float) -> str:
    error = math.hypot(float(row["loss_se_chips"]), float(row["loss_se_items"]))
    return f"{share * float(row['loss']):.2f} ± {share * error:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="as in `gap.py run`")
    parser.add_argument("--csv", type=Path, help="write the comparisons")
    parser.add_argument("--table", type=Path, help="print a gap.csv as Markdown")
    args = parser.parse_args()
    if args.table:
        return table(args.table)
    if args.out is None:
        parser.error("pass --out or --table")
    assert len(NAMES) == len(HANDS)
    found = sorted(p.parent for p in args.out.glob("studies/*/results.nc"))
    done = [f for f in found if not f.name[-2:].startswith("-")]
    rows = [row for folder in done for row in rows_of(folder)]
    if args.csv:
        with args.csv.open("w", newline="") as file:
            csv.writer(file).writerows([FIELDS, *rows])
    print(",".join(FIELDS))
    print("\n".join(",".join(row) for row in rows))
    worse = sum(float(row[FIELDS.index("z")]) > 2 for row in rows)
    print(
        f"{len(rows)} comparisons: in {worse}, recommended loses more than the best by "
        f"hand by over two standard errors; without any difference, chance alone would "
        f"give {ONE_SIDED * len(rows):.1f}"
    )


if __name__ == "__main__":
    main()
