"""Measurements of a device: a table of reads, from arrays, CSV or Parquet."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import rng
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import PRNGKey
from anajax.devices.base import Device, age, program, read
from anajax.devices.fitting.likelihood import Measured
from anajax.devices.fitting.sheets import clean as sheets
from anajax.devices.fitting.sheets.names import COLUMNS, CONDUCTANCES, UNITS

PLAUSIBLE = (1e-3, 1e4)
"""Plausible range of the largest conductance (uS) of a memory cell: outside, the best
conductor would be 1 gigaohm, or a cell would be 100 ohm, less than its wires."""
OFFSET = 0.1
"""Largest negative offset of instruments at zero, relative to the largest reading."""
Table = Mapping[str, Sequence[float] | np.ndarray]


def read_measurements(
    path: str | Path, *, columns: str | Mapping[str, str] | None = None
) -> dict[str, np.ndarray]:
    """The columns cell, target, programmed, time (s) and read of a file.

    Conductances are in uS if headers state their units, otherwise unconverted. See
    `anajax.devices.fitting.sheets.clean` for files without a column `programmed`, with
    one column per time, empty reads, or several writes of a cell.

    Args:
        path: path of a text file (.csv, .tsv, .txt, .dat) or .parquet.
        columns: headers in the file for the known columns, such as "cell=die,read=G".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file has another ending, is not readable, or lacks columns.
        ImportError: if a Parquet file is read without pandas and pyarrow.
    """
    return sheets.read(path, columns=columns).columns


def group(table: Table | str | Path, *, units: str | None = None) -> Measured:
    """Measurements by cell from a table with one row per read.

    Args:
        table: columns cell (id), target, programmed, read and time (s), as a mapping
            of equally long columns, or the path of a file. Programmed and read values
            slightly below zero count as zero.
        units: units of target, programmed and read: S, mS, uS, nS, or ohm for
            resistances; by default those in the headers of a file, or uS.

    Raises:
        ValueError: if a column is missing, lengths differ, a number is not finite, a
            time is negative, a conductance is negative or implausible for a memory, a
            cell has several targets or programmed values, or the units are unknown.
    """
    if isinstance(table, str | Path):
        found = sheets.read(table, units=units)
        table, units = found.columns, found.units
    units = units or "uS"
    missing = [c for c in COLUMNS if c not in table]
    if missing:
        rule = f"have columns {', '.join(COLUMNS)}"
        checks.fail("measurements", rule, f"none for {missing}", "Add them.")
    columns = {c: np.asarray(table[c]) for c in COLUMNS}
    lengths = {c: len(v) for c, v in columns.items()}
    if len(set(lengths.values())) != 1:
        checks.fail("measurements", "have equal columns", lengths, "Complete them.")
    for name in COLUMNS[1:]:
        columns[name] = np.asarray(columns[name], float)
        checks.finite(f"measurements[{name!r}]", columns[name])
    checks.positive("measurements['time']", columns["time"], strictly=False)
    for name in CONDUCTANCES:
        columns[name] = _in_microsiemens(name, columns[name], units)
    _, cell, counts = np.unique(
        columns["cell"], return_inverse=True, return_counts=True
    )
    order = np.argsort(cell, kind="stable")
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    slots = np.minimum(
        first[:, None] + np.arange(counts.max()), (first + counts - 1)[:, None]
    )
    rows = order[slots]
    for name in ("target", "programmed"):
        if np.any(columns[name][rows] != columns[name][rows[:, :1]]):
            rule = "be the same in all rows of a cell"
            checks.fail(f"measurements[{name!r}]", rule, "several", "Use new ids.")
    return Measured(
        target=jnp.asarray(columns["target"][rows[:, 0]]),
        programmed=jnp.asarray(columns["programmed"][rows[:, 0]]),
        time=jnp.asarray(columns["time"][rows]),
        read=jnp.asarray(columns["read"][rows]),
        valid=jnp.asarray((np.arange(counts.max()) < counts[:, None]).astype(float)),
    )


def _in_microsiemens(name: str, value: np.ndarray, units: str) -> np.ndarray:
    label = f"measurements[{name!r}]"
    if units not in UNITS:
        checks.fail("units", f"be one of {', '.join(UNITS)}", repr(units), "Choose.")
    offset = 0.0 if name == "target" or units == "ohm" else OFFSET * np.max(value)
    if np.min(value) < -max(offset, 0.0):
        got = f"{np.sum(value < 0)} values, the lowest {np.min(value):.3g} {units}"
        checks.fail(label, "not be negative", got, "Drop or correct these rows.")
    if units == "ohm":
        checks.positive(label, value)
        value = UNITS[units] / value
    else:
        value = np.maximum(value, 0) * UNITS[units]
    low, high = PLAUSIBLE
    if not low <= np.max(value) <= high:
        checks.fail(
            label,
            f"have its largest conductance in {low:g} to {high:g} uS, as cells do",
            f"{np.max(value):.3g} uS, read as {units}",
            "State the units of the table, as in units='S' or --units S: one of "
            f"{', '.join(UNITS)}.",
        )
    return value


def without_repeats(data: Measured) -> Measured:
    """Drop reads at time 0 that repeat the programmed value.

    Such a read is not a second measurement. Single ones may be equal by chance if a
    converter rounds: they are dropped if nine in ten of the reads at time 0 are equal.
    """
    valid, read, time = (np.asarray(v) for v in (data.valid, data.read, data.time))
    first = (valid > 0) & (time == 0)
    same = first & (read == np.asarray(data.programmed)[:, None])
    if same.sum() < 0.9 * max(first.sum(), 1):
        return data
    valid = np.where(same, 0.0, valid)
    order = np.argsort(-valid, axis=1, kind="stable")
    order = order[:, : max(int(valid.sum(-1).max()), 1)]
    return replace(
        data,
        **{
            name: jnp.asarray(np.take_along_axis(value, order, 1))
            for name, value in (("valid", valid), ("read", read), ("time", time))
        },
    )


def measure(
    device: Device,
    targets: Float[JArray, "cells"] | np.ndarray,
    times: Sequence[float],
    *,
    key: PRNGKey,
) -> dict[str, np.ndarray]:
    """Simulate the table that `fit_device` takes.

    Every cell is read at all times. Cells of a device without read noise are read at
    one time each, in turn, since further reads would add no information.

    Args:
        device: the measured device.
        targets: target of each cell, uS.
        times: times of the reads in s, increasing.
        key: consumed.
    """
    checks.times("times", jnp.asarray(times))
    targets = jnp.asarray(targets, float)
    cells = program(device, targets, key=key)
    read_key = rng.stream(key, rng.Stage.TIME)
    reads = [
        read(device, age(device, cells, t=t), t=t, key=jr.fold_in(read_key, i))
        for i, t in enumerate(times)
    ]
    shown = device.drift.first_shown(cells.programmed, cells.g)
    ids = np.arange(targets.size)
    which = np.arange(len(times))[None, :] == ids[:, None] % len(times)
    if not device.read.exact:
        which = np.ones_like(which)
    cell, time = np.nonzero(which)
    return {
        "cell": cell,
        "target": np.asarray(targets, float)[cell],
        "programmed": np.maximum(np.asarray(shown, float), 0)[cell],
        "time": np.asarray(times, float)[time],
        "read": np.asarray(jnp.stack(reads, -1), float)[cell, time],
    }
