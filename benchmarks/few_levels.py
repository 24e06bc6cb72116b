"""Binary and four-level memories: enumerated codes against hand strategies.

Usage: python benchmarks/few_levels.py

Weights of normal density (sd 0.3 of w_max), expected rms error over 1 s, 1 h, 1 d and
a month. Hand strategies have F and K from a grid, and targets at the nearest level.
For flash_sonos the month is beyond its source. Writes
benchmarks/results/few_levels.csv.
"""

import csv
import time
from pathlib import Path

import jax.numpy as jnp

from anajax import devices
from anajax._core.tree import replace
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.mapping.strategy import copies, pairs, singles, slices
from anajax.mapping.weight_error import moment_table, tabulated_error
from anajax.programming import enumerate_levels

NORMAL = density.gaussian(0.3)
TIMES = jnp.array([1.0, 3600.0, 86400.0, 30 * 86400.0])
DEVICES = {
    "mram_stt": devices.mram_stt(),
    "pcm, 4 levels": replace(devices.pcm(), levels=[0.0, 6.0, 14.0, 25.0]),
    "flash_sonos, 4 levels": replace(
        devices.flash_sonos(), levels=[0.0, 6.0, 12.0, 18.0]
    ),
}
FIELDS = ("memory", "cell", "strategy", "significance", "codes", "rms_percent")
FIELDS += ("cpu_seconds",)


def single_pair(device, *, f, k):
    """The hand strategy of one pair, which has no F."""
    return strategies.single_pair(device, k=k)


def hand(name, device):
    """The best of the hand strategies on one pair and on two."""
    table = moment_table(device, TIMES)
    for cell, builders in (
        ("pairs(1)", (single_pair,)),
        (
            "pairs(2)",
            (strategies.lsp_first, strategies.msp_first, strategies.equal_split),
        ),
    ):
        found = [
            strategies.tune_strategy(device, NORMAL, TIMES, build=b).strategy
            for b in builders
        ]
        errors = [tabulated_error(s, table, NORMAL).mse.mean() for s in found]
        best = found[int(jnp.argmin(jnp.stack(errors)))]
        yield {
            "memory": name,
            "cell": cell,
            "strategy": f"best hand ({best.name})",
            "significance": shown(best),
            "rms_percent": f"{100 * float(min(errors)) ** 0.5:.3f}",
        }


def enumerated(name, device):
    """Codes of pairs and of cells without pairs: given factors, and powers of F."""
    most = 4 if device.levels.size == 2 else 2
    for count in range(1, most + 1):
        for label, cell in (("pairs", pairs(count)), ("singles", singles(count))):
            ways = {"slices": slices(count), "copies": copies(count), "best F": None}
            for way, factors in ways.items() if count > 1 else [("one", copies(1))]:
                began = time.process_time()
                found = enumerate_levels(
                    device, NORMAL, TIMES, cell=cell, significance=factors
                )
                yield {
                    "memory": name,
                    "cell": f"{label}({count})",
                    "strategy": f"enumerated, {way}",
                    "significance": shown(found.strategy),
                    "codes": int(found.info["codes"]),
                    "rms_percent": f"{100 * float(found.value) ** 0.5:.3f}",
                    "cpu_seconds": f"{time.process_time() - began:.2f}",
                }


def shown(strategy):
    """Significance factors as text."""
    return " ".join(f"{float(f):.3g}" for f in strategy.significance)


def main():
    path = Path(__file__).parent / "results" / "few_levels.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for name, device in DEVICES.items():
            for rows in (hand(name, device), enumerated(name, device)):
                for row in rows:
                    writer.writerow(row)
                    print(*row.values(), sep=", ", flush=True)


if __name__ == "__main__":
    main()
