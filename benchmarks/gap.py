"""The gap to the digital network, with errors smaller than the gains, and what to use.

For each network on each memory: hand-designed strategies, the minimum weight error,
learned targets, the one of these that `recommended` chooses (on validation data and
chips, by a rule fixed beforehand), and a single pair; on 25 chips and the whole test
set, after an hour, a month and a year. There is one process per network and memory, so
that programs compile in parallel; rows are written as soon as they are known, and
whatever is already done in --out is not repeated. With --share 1 (2, ...) a finished
run goes on with the next --items test items, see gap_shares.py.

    python benchmarks/gap.py pack --data DIR --to SMALL      # the data needed here
    python benchmarks/gap.py run --data SMALL --out DIR [--limit-s 240] [--jobs 12]
    python benchmarks/gap.py pilot --data DIR --out DIR      # chips and items needed
    python benchmarks/gap.py table --out DIR                 # Markdown

`run --quick` is a small test on a CPU. Rows (DIR/gap.csv): the mean metric, the loss
relative to the digital network on the same items with its standard errors over chips
and over items, and the 95 % interval of both together, in % (or bits).
"""

import argparse
import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gap_shares
import numpy as np
from gap_data import pack
from gap_tables import table

MONTH = "1 month"
TIMES = ["1 h", MONTH, "1 y"]
DEVICES = ("pcm", "pcm_hermes")
HANDS = [
    {"name": "lsp_first", "label": "lsp_first_f2", "f": 2},
    {"name": "lsp_first", "label": "lsp_first_f4", "f": 4},
    "lsp_first_tuned",
]
FIELDS = (
    "network", "device", "strategy", "chosen", "time_s", "metric", "digital", "mean",
    "loss", "loss_se_chips", "loss_se_items", "low", "high", "chips", "items",
    "card",
)  # fmt: skip
Z95 = 1.96


@dataclasses.dataclass(frozen=True)
class Network:
    """How one network is measured and trained, and the data folders that it reads."""

    steps: int
    rate: float
    goal: str = "digital"
    batch: int = 64
    """Inputs per step."""
    chunk: int = 5
    """Chips at once."""
    at_once: int = 2048
    """Items evaluated at once."""
    on_cpu: int = 2048
    """The same on a CPU, whose cache holds the images of a small batch."""
    norms: bool = False
    per_layer: bool = True
    target: float = 0.3
    """Standard error of the loss for which a pilot finds the chips and items."""
    reads: tuple[str, ...] = ()


NETWORKS = {
    "digits": Network(400, 0.01, chunk=1),
    "fsdd_lstm": Network(300, 0.001, reads=("fsdd",)),
    "kws_lstm_s_speakers": Network(
        400, 0.003, goal="labels", reads=("speech_commands_test",)
    ),
    "tinyshakespeare_lstm": Network(
        300, 0.001, batch=32, at_once=256, target=0.005, reads=("tinyshakespeare",)
    ),
    "kws_lstm_l_speakers": Network(
        200, 0.0015, goal="labels", reads=("speech_commands_test",)
    ),
    "fashion_resnet32": Network(
        100, 0.0003, batch=32, chunk=1, at_once=1000, on_cpu=50, norms=True,
        per_layer=False,
        reads=("fashion-mnist",),
    ),
    "cifar10_resnet20": Network(
        100, 0.0003, batch=32, chunk=1, at_once=1000, on_cpu=50, norms=True,
        per_layer=False,
        reads=("cifar-10-batches-bin", "cifar10_resnet_weights"),
    ),
}  # fmt: skip
"""Networks by name, most valuable first."""
DEFAULT = [name for name in NETWORKS if "cifar" not in name]


def study_of(name: str, device: str, args) -> dict:
    """The config of the study of a network on a memory."""
    net = NETWORKS[name]
    steps = 2 if args.quick else args.steps or net.steps
    learn = {
        "parts": ["strategy", "columns", "weights", "digital"],
        "steps": steps, "batch": net.batch, "chips": 1, "weight_rate": net.rate,
        "goal": net.goal, "never_worse": True,
    }  # fmt: skip
    ways = [*HANDS, "optimized", {"name": "targets", "learn": learn}]
    among = ["lsp_first_f2", "lsp_first_f4", "lsp_first_tuned", "optimized", "targets"]
    chosen = {"name": "recommended", "among": among, "chips": 2 if args.quick else 10}
    quick = {"starts": 1, "steps": 2, "knots": 5} if args.quick else {}
    made = {
        "study": "devices", "workload": {"name": name, "items": args.items},
        "devices": [device], "times": TIMES, "chips": args.chips, "save_every": 5,
        "seed": args.seed, "normalize": "column", "chunk": net.chunk,
        "periphery": {"dac_bits": 8, "adc_bits": 8, "inputs": 0.999, "outputs": 0.999},
        "optimizer": {"per_layer": net.per_layer, "never_worse": True} | quick,
        "strategies": [*ways, chosen, "single_pair"],
    }  # fmt: skip
    return made | ({"compensation": {"norms": True}} if net.norms else {})


# --- one network on one memory --------------------------------------------------------


class Clock:
    """Prints what is done, with the seconds since the process began and the last."""

    def __init__(self, name: str):
        self.name, self.start, self.last = name, time.monotonic(), 0.0

    def say(self, text: str) -> None:
        """Print a text, with the seconds since the last one."""
        now = time.monotonic() - self.start
        took, self.last = now - self.last, now
        print(f"{now:6.1f} s  {took:6.1f} s  {self.name}: {text}", flush=True)


def worker(args) -> None:
    """Measure one network on one memory, writing rows as soon as they are known."""
    clock = Clock(f"{args.network} on {args.device}")
    import jax

    from anajax import workloads
    from anajax.analysis.workload import evaluate
    from anajax.studies import run
    from anajax.studies.load import validate

    card = jax.devices()[0].device_kind
    clock.say(f"jax {jax.__version__} on {card}")
    items = args.items and args.items * (args.share + 1)
    whole = workloads.load(args.network, data=args.data, items=items)
    work = gap_shares.items_of(whole, args.items, args.share)
    net = NETWORKS[args.network]
    most = net.on_cpu if jax.default_backend() == "cpu" else net.at_once
    batch = min(most, len(work.x))
    work = dataclasses.replace(work, batch=-(-len(work.x) // -(-len(work.x) // batch)))
    config = validate(study_of(args.network, args.device, args))
    place = (args.out, args.network, args.device)
    gap_shares.take_over(*place, args.share)
    out = gap_shares.folder(*place, args.share)
    study = run.prepare(config, out=out, resume="auto", workload=work)
    with run.exact():
        digital = np.asarray(evaluate(dataclasses.replace(whole, batch=work.batch)))
    clock.say(f"{len(work.x)} of {len(whole.x)} items, digital {digital.mean():.4f}")
    table = args.out / "rows" / f"{args.network}-{args.device}.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(",".join(FIELDS) + "\n")

    def notify(text: str, done: bool) -> None:
        clock.say(f"{text}{', done' * done}")
        if done:
            rows = rows_of(*text.split(": "), digital, study, args)
            with table.open("a", newline="") as file:
                writer = csv.writer(file)
                writer.writerows([*row, card] for row in rows)

    run.run(study, notify=notify)
    clock.say("finished")


def rows_of(device: str, label: str, digital, study, args):
    """Rows of one strategy on a device, by its label in the study, at all times."""
    from anajax.studies.store.drafts import unpacked

    file, work = f"parts/{device}-{label}.npz", study.work
    place = (args.out, args.network, args.device)
    before = [gap_shares.folder(*place, share) / file for share in range(args.share)]
    contents = [*(path.read_bytes() for path in before), study.folder.content(file)]
    metric, items = gap_shares.merged([unpacked(content) for content in contents])
    factor = 100.0 if work.metric == "accuracy" else 1.0
    sign = factor * (1 if work.higher_is_better else -1)
    chosen = label
    if label == "recommended":
        choice = f"parts/choice-{device}-recommended.npz"
        chosen = str(unpacked(study.folder.content(choice))["chosen"])
    lost = sign * (digital - items)
    for j, seconds in enumerate(study.config.times):
        of_chips = sign * (digital.mean() - metric[:, j])
        se_chips = of_chips.std(ddof=1) / np.sqrt(len(of_chips))
        se_items = lost[j].std(ddof=1) / np.sqrt(lost.shape[1])
        mean, half = of_chips.mean(), Z95 * np.hypot(se_chips, se_items)
        values = [
            factor * digital.mean(), factor * metric[:, j].mean(), mean, se_chips,
            se_items, mean - half, mean + half,
        ]  # fmt: skip
        yield [
            args.network, args.device, label, chosen, f"{seconds:g}", work.metric,
            *(f"{v:.4f}" for v in values), len(metric), lost.shape[1],
        ]  # fmt: skip


# --- all of them ----------------------------------------------------------------------


def run_all(args) -> None:
    """One process per network and memory, several at once, until time runs out."""
    begin, waiting = time.monotonic(), []
    for name in args.networks:
        waiting += [(name, device) for device in args.devices]
    running: dict[tuple[str, str], subprocess.Popen] = {}
    args.out.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    left = True
    while (waiting or running) and left:
        while waiting and len(running) < args.jobs:
            name, device = waiting.pop(0)
            command = [sys.executable, __file__, "worker", *forward(args)]
            command += ["--network", name, "--device", device]
            running[name, device] = subprocess.Popen(command, env=environment)
        time.sleep(0.5)
        for place, process in list(running.items()):
            if process.poll() is not None:
                print(f"{place}: exit {process.returncode}", flush=True)
                del running[place]
        merge(args.out)
        left = time.monotonic() - begin < args.limit_s
    for process in running.values():
        process.send_signal(signal.SIGTERM)
    for place, process in running.items():
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
        print(f"{place}: stopped at {args.limit_s} s", flush=True)
    merge(args.out)
    print(f"{time.monotonic() - begin:.0f} s total; not begun: {waiting}", flush=True)
    table(args.out)


def forward(args) -> list[str]:
    """Options passed to a worker."""
    given = {
        "--data": args.data, "--out": args.out, "--chips": args.chips,
        "--items": args.items, "--steps": args.steps, "--seed": args.seed,
        "--share": args.share,
    }  # fmt: skip
    named = [(k, str(v)) for k, v in given.items() if v is not None]
    return [word for pair in named for word in pair] + ["--quick"] * args.quick


def merge(out: Path) -> None:
    """Merge all known rows into one file."""
    lines = [",".join(FIELDS)]
    for path in sorted((out / "rows").glob("*.csv")):
        lines += path.read_text().splitlines()[1:]
    new = out / "gap.csv.new"
    new.write_text("\n".join(lines) + "\n")
    new.replace(out / "gap.csv")


# --- before a run ---------------------------------------------------------------------


def pilot(args) -> None:
    """Chips and items needed for the target standard error, from a small run."""
    import jax

    from anajax import workloads
    from anajax.studies.load import validate
    from anajax.studies.power import pilot as measure

    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "pilot.csv"
    fields = (
        "network", "device", "time", "pilot_chips", "pilot_items", "sd_chips",
        "sd_items", "target", "chips", "items", "seconds",
    )  # fmt: skip
    if not path.exists():
        path.write_text(",".join(fields) + "\n")
    for name in args.networks:
        work = workloads.load(name, data=args.data, items=args.items)
        for device in args.devices:
            begin = time.monotonic()
            asked = study_of(name, device, args) | {"times": [MONTH]}
            config = validate(asked | {"strategies": ["lsp_first_tuned"]})
            found = measure(config, workload=work, chips=args.chips)
            net = NETWORKS[name]
            unit = 0.01 if work.metric == "accuracy" else 1.0
            chips, items = found.needed(net.target * unit)
            row = [
                name, device, MONTH, found.chips, found.items,
                f"{found.of_chips / unit:.4f}", f"{found.of_items / unit:.4f}",
                net.target, chips, items, f"{time.monotonic() - begin:.0f}",
            ]  # fmt: skip
            print(*row, f"jax {jax.__version__}", flush=True)
            with path.open("a", newline="") as file:
                csv.writer(file).writerow(row)


# --- options --------------------------------------------------------------------------


def options() -> argparse.ArgumentParser:
    """Options of the commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", type=Path)
    shared.add_argument("--out", type=Path, required=True)
    shared.add_argument("--chips", type=int, default=25)
    shared.add_argument("--items", type=int, help="test items, all by default")
    shared.add_argument("--share", type=int, default=0, help="which --items test items")
    shared.add_argument("--steps", type=int, help="training steps")
    shared.add_argument("--seed", type=int, default=0)
    shared.add_argument("--quick", action="store_true", help="a small test")
    one = commands.add_parser("worker", parents=[shared])
    one.add_argument("--network", required=True)
    one.add_argument("--device", required=True)
    for name in ("run", "pilot"):
        many = commands.add_parser(name, parents=[shared])
        many.add_argument("--networks", nargs="+", default=DEFAULT, choices=NETWORKS)
        many.add_argument("--devices", nargs="+", default=list(DEVICES))
        many.add_argument("--limit-s", type=float, default=240.0)
        many.add_argument("--jobs", type=int, default=12, help="processes at once")
    commands.add_parser("table").add_argument("--out", type=Path, required=True)
    small = commands.add_parser("pack")
    small.add_argument("--data", type=Path, required=True)
    small.add_argument("--to", type=Path, required=True)
    return parser


def main() -> None:
    args = options().parse_args()
    if getattr(args, "quick", False):
        args.chips, args.items = 2, args.items or 40
    commands = {"run": run_all, "worker": worker, "table": lambda a: table(a.out)}
    (commands | {"pilot": pilot, "pack": lambda a: pack(a.data, a.to)})[args.command](
        args
    )


if __name__ == "__main__":
    main()
