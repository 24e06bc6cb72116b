"""Device requirements: how far each imperfection may grow, or must shrink.

python benchmarks/specification.py --data DIR [--networks NAME ...] [--out FILE]

For each network and memory: the factor on one family of imperfections (programming
error, mean drift, spread of drift, read noise, or the three noises together) at which
the network loses 1 % of its digital metric a month after programming, with everything
else and the targets fixed. Wu et al., Adv. Intell. Syst. (2026), ask this question.

1. Chips whose noises are scaled together show the divergence from the digital outputs
   that corresponds to this loss (chips of seed 0).
2. The gradient of the divergence through programming, drift, read and converters gives
   the factor on each family that causes it: Newton's method in the square of the
   factor, a few backward passes, no sample of the metric.
3. The sampler measures, on other chips (seed 1), the loss at the predicted factor and
   at sqrt(2) above and below, and where the loss exceeds 1 % (90 % interval, bootstrap
   over chips).
"""

import argparse
import csv
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from anajax import rng, workloads
from anajax.analysis.elasticities import elasticities
from anajax.analysis.engine import Tally
from anajax.analysis.hardware import impair
from anajax.analysis.impaired import ImpairedModel, numbers
from anajax.analysis.points import chip_keys
from anajax.analysis.tolerance import RAY, requirement
from anajax.analysis.workload import evaluate
from anajax.studies import run
from anajax.studies.kinds.sensitivity import Runner
from anajax.studies.kinds.sensitivity_config import SensitivityConfig
from anajax.studies.load import validate
from anajax.studies.programs import Programs
from anajax.studies.report.statistics import mean_and_error
from anajax.studies.store.parts import Parts

MONTH = 30 * 86400.0
ACCEPTED = 0.01
"""Accepted loss, as a fraction of the digital metric."""
FAMILIES = {
    "programming": ("device/programming/scale",),
    "drift_mean": ("device/drift/mean_scale",),
    "drift_spread": ("device/drift/spread_scale",),
    "read": ("device/read/scale",),
}
"""The hardware parameters that a family scales."""
FAMILIES["ray"] = tuple(name for family in RAY for name in FAMILIES[family])
GRID = tuple(2.0 ** (i / 2) for i in range(-4, 6))
"""Factors on all noises together, to relate divergence to loss."""
AROUND = 2.0 ** np.array([-0.5, 0.0, 0.5])
STEPS, INPUTS, DRAWN = 3, 128, 8
"""Steps of Newton's method; calibration inputs and chips of each gradient."""
LEAST, MOST = 1 / 8, 16.0
"""Range of tested factors."""
FIELDS = (
    "network", "device", "strategy", "family", "digital", "lost", "elasticity",
    "elasticity_error", "predicted", "lost_there", "error_there", "sampled", "low",
    "high", "chips", "items",
)  # fmt: skip
"""`lost` at factor 1, `lost_there` at the predicted factor, both in % of the digital
metric on the chips of seed 1; the error is over chips and items."""


def config_of(name: str, device: str, strategy: str, args) -> dict:
    """The config of a study for its program and hardware; its analyses are not run."""
    return {
        "study": "sensitivity", "workload": {"name": name, "items": args.items},
        "device": {"name": device}, "times": [MONTH], "chips": args.chips,
        "chunk": 5, "strategy": strategy, "normalize": "column",
        "periphery": {"dac_bits": 8, "adc_bits": 8, "inputs": 0.999, "outputs": 0.999},
    }  # fmt: skip


@dataclass
class Bench:
    """A programmed network, its gradient and its sampler."""

    runner: Runner
    digital: np.ndarray
    """Metric of each item."""
    chips: int

    @property
    def accepted(self) -> float:
        """The accepted loss, in units of the metric."""
        return ACCEPTED * abs(float(self.digital.mean()))

    def sample(self, family: str, factors: Sequence[float], seed: int) -> Tally:
        """Measure chips with a family scaled."""
        placed, engine = self.runner.placed, self.runner.engine
        names = RAY if family == "ray" else (family,)
        scaled = {name: np.asarray(factors, float) for name in names}
        return engine.measure(
            ImpairedModel(placed.network),
            numbers(len(self.runner.paths), scaled),
            chip_keys(rng.key(seed), np.arange(self.chips)),
            self.runner.shared,
            times=1,
            items=len(self.digital),
            subsets=[],
            kept=None,
        )

    def lost(self, tally: Tally) -> tuple[np.ndarray, np.ndarray]:
        """Loss of each chip `[points chips]`, and its error over items `[points]`."""
        sign = 1.0 if self.runner.work.higher_is_better else -1.0
        chips = sign * (self.digital.mean() - tally.metric[:, :, 0].astype(float))
        items = sign * (self.digital - tally.item_metric[:, 0].astype(float))
        return chips, mean_and_error(items)[1]

    def slope(self, family: str, factor: float) -> tuple[float, float, float]:
        """Divergence with a family scaled, and its elasticity in the factor ± error."""
        placed = self.runner.placed
        names = RAY if family == "ray" else (family,)
        found = elasticities(
            placed.network,
            impair(placed.hardware, dict.fromkeys(names, jnp.asarray(factor))),
            placed.layers,
            self.runner.work.calibration[:INPUTS],
            MONTH,
            key=rng.key(0),
            chips=DRAWN,
        )
        chosen = [found.parameters.index(name) for name in FAMILIES[family]]
        slopes, errors = found.elasticity[0, chosen], found.error[0, chosen]
        return found.output[0].mean(), slopes.sum(), float(np.hypot.reduce(errors))

    def ratio(self) -> float:
        """Accepted divergence relative to the present one, from noises scaled together.

        It is 0 or infinite if the loss crosses the accepted one outside `GRID`.
        """
        tally = self.sample("ray", GRID, seed=0)
        chips, _ = self.lost(tally)
        gaps = np.maximum.accumulate(chips.mean(1))
        logs = np.log(np.mean(tally.loss[:, :, 0], 1, dtype=float))
        there = np.interp(self.accepted, gaps, logs, left=-np.inf, right=np.inf)
        return float(np.exp(there - logs[GRID.index(1.0)]))

    def solve(self, family: str, ratio: float) -> tuple[float, tuple[float, float]]:
        """The factor that multiplies the divergence by `ratio`.

        It is 0 or infinite if none is found. The elasticity at factor 1 and its error
        follow.
        """
        factor, first = 1.0, self.slope(family, 1.0)
        wanted, (now, slope, _) = ratio * first[0], first
        for _ in range(STEPS):
            if abs(slope) < 1e-6:
                break
            square = factor**2 * (1 + 2 * (wanted / now - 1) / slope)
            square = float(np.clip(square, factor**2 / 8, factor**2 * 8))
            factor = float(np.clip(np.sqrt(square), LEAST, MOST))
            now, slope, _ = self.slope(family, factor)
        if abs(now / wanted - 1) > 0.1:
            factor = 0.0 if now > wanted else np.inf
        return factor, first[1:]


def bench(name: str, device: str, strategy: str, args, folder: Path) -> Bench:
    """Program a network for a memory."""
    work = workloads.load(name, data=args.data, items=args.items)
    config = validate(config_of(name, device, strategy, args))
    assert isinstance(config, SensitivityConfig)
    prepared = run.prepare(config, out=folder, workload=work)
    study = prepared.study
    parts = Parts(prepared.folder, lambda text, done: None, lambda stage, share: None)
    d = study.deployed
    programs = Programs(config, d.network, d.case, parts)
    placed = d.placed(programs.part(config.strategy))
    digital = np.asarray(evaluate(work), float)
    return Bench(Runner(study, placed, parts), digital, args.chips)


def rows_of(name: str, device: str, strategy: str, args, folder: Path):
    """One row of the table per family."""
    one = bench(name, device, strategy, args, folder)
    mean = abs(float(one.digital.mean()))
    nominal, _ = one.lost(one.sample("ray", [1.0], seed=1))
    ratio = one.ratio()
    for family in FAMILIES:
        predicted, (slope, error) = one.solve(family, ratio)
        at = np.clip(predicted, LEAST, MOST)
        tally = one.sample(family, at * AROUND, seed=1)
        chips, of_items = one.lost(tally)
        found = requirement(family, at * AROUND, chips, one.accepted)
        there, of_chips = mean_and_error(chips[1])
        values = [
            mean, 100 * nominal.mean() / mean, slope, error, predicted,
            100 * there / mean, 100 * np.hypot(of_chips, of_items[1]) / mean,
            found.factor, found.low, found.high,
        ]  # fmt: skip
        row = [name, device, strategy, family, *(f"{v:.4g}" for v in values)]
        print(*row, flush=True)
        yield [*row, args.chips, len(one.digital)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--networks", nargs="+", default=["digits", "fsdd_lstm"])
    parser.add_argument("--devices", nargs="+", default=["pcm", "pcm_hermes"])
    parser.add_argument(
        "--strategies", nargs="+", default=["single_pair", "lsp_first_tuned"]
    )
    parser.add_argument("--chips", type=int, default=25)
    parser.add_argument("--items", type=int, help="test items, all by default")
    parser.add_argument("--out", type=Path, default=Path("specification.csv"))
    args = parser.parse_args()
    with args.out.open("w", newline="") as file, tempfile.TemporaryDirectory() as tmp:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for name in args.networks:
            for device in args.devices:
                for strategy in args.strategies:
                    folder = Path(tmp) / f"{name}-{device}-{strategy}"
                    for row in rows_of(name, device, strategy, args, folder):
                        writer.writerow(row)
                        file.flush()


if __name__ == "__main__":
    main()
