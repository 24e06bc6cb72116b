"""Digital networks trained for as long as targets learn, for `gap.py`.

Targets that learn labels also improve the network, so its digital accuracy before
learning is too easy a reference. Here the digital network learns the same labels with
the same batches, without noise: as many steps, after as many again to choose its rate
on held-out data, and it is kept only if it is better there.

    python benchmarks/gap_alike.py --data SMALL --out DIR     # DIR of `gap.py run`

It writes DIR/alike.csv: the metric before and after, and the gain with its standard
error over items, in % for an accuracy.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from gap import NETWORKS

from anajax.studies import run
from anajax.studies.load import validate

FIELDS = (
    "network", "steps", "batch", "digital", "trained", "gain", "gain_se", "items",
    "seconds",
)  # fmt: skip


def trained(name: str, args: argparse.Namespace) -> list:
    """The row of one network; the study stays in DIR/alike/NAME."""
    net, begun = NETWORKS[name], time.monotonic()
    steps = 4 if args.quick else 2 * net.steps
    learn = {"goal": "labels", "batch": net.batch, "rate": "auto", "never_worse": True}
    config = validate(
        {
            "study": "strategies", "workload": {"name": name, "items": args.items},
            "device": {"name": "pcm"}, "times": ["1 s"], "chips": 2,
            "strategies": [{"name": "digital", "trained": True}],
            "training": learn | {"steps": steps, "chips": 1},
        }
    )  # fmt: skip
    out = args.out / "alike" / name
    study = run.prepare(config, out=out, resume="auto", data=args.data)
    data = run.run(study).isel(device=0, time=0)
    metric = data.attrs["metric"]
    better = 1 if data.attrs["better"] == "higher" else -1
    factor = 100 if metric == "accuracy" else 1
    after = data[f"item_{metric}"].sel(strategy="trained_digital")
    before = data[f"digital_item_{metric}"]
    gain = better * factor * (after - before).values.astype(float)
    numbers = factor * before.mean(), factor * after.mean(), gain.mean()
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    seconds = f"{time.monotonic() - begun:.0f}"
    values = [f"{float(v):.4f}" for v in (*numbers, error)]
    return [name, steps // 2, net.batch, *values, len(gain), seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="of `gap.py run`")
    parser.add_argument("--items", type=int, help="test items, all by default")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS)
    parser.add_argument("--quick", action="store_true", help="a try: few steps")
    args = parser.parse_args()
    labeled = [name for name, net in NETWORKS.items() if net.goal == "labels"]
    rows = []
    for name in args.networks or labeled:
        rows.append(trained(name, args))
        print(dict(zip(FIELDS, rows[-1], strict=True)), flush=True)
    with (args.out / "alike.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows])


if __name__ == "__main__":
    main()
