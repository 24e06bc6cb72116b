"""A device from measured tables: any of the three stages, from arrays or CSV files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.tree import replace
from anajax.devices.base import Device
from anajax.devices.curves import Table
from anajax.devices.drift import PowerLawDrift
from anajax.devices.fitting.sheets.text import numbers, read_text
from anajax.devices.models.ideal import ideal
from anajax.devices.programming import GaussianProgramming
from anajax.devices.read_noise import FlickerRead

Columns = Mapping[str, Sequence[float] | np.ndarray]
Source = str | Path | Columns


def tabulated(
    *,
    g_max: float,
    g_min: float = 0.0,
    programming: Source | None = None,
    drift: Source | None = None,
    read: Source | None = None,
    t0: float = 20.0,
    t_read: float = 250e-9,
    base: Device | None = None,
    name: str = "tabulated",
    source: str = "measured tables",
) -> Device:
    """A device whose stages are tables over conductance, linearly interpolated.

    Each table has columns g (uS, increasing), mean and sd, as a mapping of arrays or a
    CSV file with that header. Stages without a table come from `base`.

    Args:
        g_max: highest conductance, uS.
        g_min: lowest conductance, uS.
        programming: mean = offset of the programmed value from the target (uS, 0 for
            none), sd in uS; cycle-to-cycle.
        drift: mean and sd of the power-law exponent; device-to-device.
        read: mean is not used (0), sd = relative 1/f amplitude Q of `FlickerRead`;
            cycle-to-cycle.
        t0: time of the first read after programming, s.
        t_read: duration of a read, s.
        base: device that supplies the other stages; the ideal device by default.
        name: name of the device.
        source: where the tables were measured.

    Raises:
        ValueError: if a column is missing, a value is not finite, a standard deviation
            is negative, or g does not increase.
        FileNotFoundError: if a CSV file does not exist.

    Source of the form: Li, Mackin et al., Adv. Electron. Mater. 9, 2201190 (2023).
    """
    device = ideal() if base is None else base
    stages: dict[str, Any] = {}
    if programming is not None:
        mean, sd = _curves("programming", programming, g_max)
        stages["programming"] = GaussianProgramming(sd=sd, shift=mean, g_max=g_max)
    if drift is not None:
        mean, sd = _curves("drift", drift, g_max)
        stages["drift"] = PowerLawDrift(nu_mean=mean, nu_sd=sd, g_max=g_max, t0=t0)
    if read is not None:
        _, sd = _curves("read", read, g_max)
        stages["read"] = FlickerRead(q=sd, g_max=g_max, t0=t0, t_read=t_read)
    return replace(device, name=name, g_min=g_min, g_max=g_max, source=source, **stages)


def read_csv(path: str | Path) -> dict[str, np.ndarray]:
    """The numeric columns of a text file with a header, with any separator.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is empty or an entry is not a number; the message names line
            and column.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}: give the path of a CSV file.")
    sheet = read_text(path)
    columns = {name: numbers(sheet, name) for name in sheet.columns}
    for name, values in columns.items():
        for row in np.flatnonzero(np.isnan(values))[:1]:
            got = f"none in line {sheet.lines[row]}, column {name!r}"
            checks.fail(str(path), "hold a number in each row", got, "Fill it in.")
    return columns


def _curves(stage: str, source: Source, g_max: float) -> tuple[Table, Table]:
    columns = read_csv(source) if isinstance(source, str | Path) else source
    missing = [c for c in ("g", "mean", "sd") if c not in columns]
    if missing:
        checks.fail(
            stage,
            "have columns g, mean, sd",
            f"columns {sorted(columns)} without {missing}",
            "Add the missing column.",
        )
    g, mean, sd = (jnp.asarray(columns[c], dtype=float) for c in ("g", "mean", "sd"))
    checks.positive(f"{stage}.sd", sd, strictly=False)
    return Table(x=g / g_max, value=mean), Table(x=g / g_max, value=sd)
