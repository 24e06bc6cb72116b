"""Times of several functions in one run, in turn, with ratios to the first of them."""

import csv
import os
import tempfile
import time
from pathlib import Path

import jax
import numpy as np


def in_turn(cases, rounds):
    """Milliseconds `[rounds]` of each case: {name: (function, arguments)}.

    Every round runs each case once, so that a busy machine is busy for all of them.
    """
    for function, arguments in cases.values():
        jax.block_until_ready(function(*arguments))  # compile
    times = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (function, arguments) in cases.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: np.array(t) for name, t in times.items()}


def temporary_mb(function, *arguments):
    """Megabytes of temporaries that XLA plans for a jitted function."""
    compiled = function.lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 1e6


def machine():
    """One line on where the numbers come from."""
    load = os.getloadavg()[0]
    device = jax.devices()[0].device_kind
    return f"jax {jax.__version__}, {device}, {os.cpu_count()} cores, load {load:.1f}"


def write_csv(name, rows):
    """Write rows (dicts of one set of names) to benchmarks/results, atomically."""
    path = Path(__file__).parent / "results" / name
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
