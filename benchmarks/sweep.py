"""A sweep of 256 devices x 25 chips x 5 times on the quickstart network.

Usage: JAX_NUM_CPU_DEVICES=2 python benchmarks/sweep.py [variants]

Digits, 200 test items, PCM with programming error, drift spread and read noise at four
factors each, and mean drift at four: numbers of one structure, one trace. The two
cores count as two devices; memory is bounded by 5 chips at once on each. The program
stays that of `lsp_first`. Writes wall time, CPU time, traces and the peak of resident
memory to benchmarks/results/sweep.csv.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import chex
import jax
import timing

from anajax.analysis.network import AnalogNetwork
from anajax.studies import run
from anajax.studies.load import validate

VARIANTS = int(sys.argv[1]) if len(sys.argv) > 1 else 256
CHUNK = 5
NOISE = ("programming", "drift_mean", "drift_spread", "read")
CONFIG = {
    "study": "sweep",
    "workload": {"name": "digits", "items": 200},
    "device": {"name": "pcm"},
    "strategy": "lsp_first",
    "times": ["1 s", "1 h", "1 d", "1 month", "1 y"],
    "chips": 25,
    "chunk": CHUNK,
    "sweep": {
        "points": [
            {
                f"device.noise.{name}": 0.5 * 2.0 ** (i // 4**k % 4)
                for k, name in enumerate(NOISE)
            }
            for i in range(VARIANTS)
        ]
    },
}


def peak_mb():
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main():
    AnalogNetwork.at = chex.assert_max_traces(AnalogNetwork.at, n=1)  # pyright: ignore
    began, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        study = run.prepare(validate(CONFIG), out=Path(folder) / "out")
        prepared, before = time.perf_counter(), peak_mb()
        data = run.run(study)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert data.accuracy.notnull().all() and len(set(data.group.values)) == 1
    row = {
        "variants": VARIANTS,
        "chips": 25,
        "times": 5,
        "items": 200,
        "devices": jax.local_device_count(),
        "chips_at_once_on_each": CHUNK,
        "traces": 1,
        "wall_s": f"{wall:.1f}",
        "of_which_preparing_s": f"{prepared - began:.1f}",
        "cpu_s": f"{cpu:.1f}",
        "peak_mb": f"{peak_mb():.0f}",
        "peak_mb_before_the_sweep": f"{before:.0f}",
        "machine": timing.machine(),
    }
    print(row)
    timing.write_csv("sweep.csv", [row])


if __name__ == "__main__":
    main()
