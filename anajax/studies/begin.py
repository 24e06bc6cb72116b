"""Before a study: files to start from, and a check of what a config requests."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anajax._core import checks
from anajax._core.aligned import aligned
from anajax._core.disk import write_atomically
from anajax._core.units import counted, human
from anajax.analysis.evaluate import HELD
from anajax.studies import run
from anajax.studies.kinds.catalog import kinds
from anajax.studies.load import load_config
from anajax.studies.plan import network_of

TEMPLATE = Path(__file__).parent / "template"
FILES = ("config.yaml", "my_net.py", "README.md")


def init(folder: Path) -> list[Path]:
    """Write a config, a network and a README to start from.

    Args:
        folder: folder for the files; it is created if it does not exist.

    Raises:
        ValueError: if one of these files exists.
        WriteError: an OSError, if the files cannot be written.
    """
    there = [name for name in FILES if (folder / name).exists()]
    if there or folder.is_file():
        got = f"{', '.join(there) or 'a file'} in {folder}"
        checks.fail("DIR", "hold none of these files", got, "Name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        write_atomically(folder / name, (TEMPLATE / name).read_bytes())
    return [folder / name for name in FILES]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """What the study of a config will do."""

    study: str
    parts: int
    chips: int
    times: list[float]
    """Seconds since the first read."""
    network: str
    items: int
    """Test items."""
    shape: tuple[int, ...]
    """Shape of one of them."""
    metric: str
    unit: str
    first: int
    """Number of items that the digital network was evaluated on."""
    digital: float
    """Its metric on them."""
    layers: list[dict[str, Any]]
    """Contents of the tiles: path, groups, rows, columns, tiles and weights."""
    tiles: int
    weights: int
    digital_parameters: int
    bytes_per_device: int
    """Memory of the cells of a chip, per device of a weight."""

    def __str__(self) -> str:
        unit = "" if self.unit == "1" else f" {self.unit}"
        times = ", ".join(map(human, self.times))
        rows = [
            (
                v["path"], f"{v['groups']} x {v['rows']} x {v['columns']}",
                v["tiles"], v["weights"],
            )
            for v in self.layers
        ]  # fmt: skip
        rows.append(("all", "", self.tiles, self.weights))
        header = ("layer", "matrices x rows x columns", "tiles", "weights")
        memory = f"{self.bytes_per_device / 2**20:.3g} MiB per device of a weight"
        return "\n".join(
            [
                f"Study: {self.study}, {counted(self.parts, 'part')}, "
                f"{counted(self.chips, 'chip')} at {times}",
                f"Network: {self.network}, {counted(self.items, 'test item')} of shape "
                f"{self.shape}",
                f"Digital {self.metric} of the first {self.first} items: "
                f"{self.digital:.4g}{unit}",
                "",
                *aligned(header, rows).splitlines(),
                "",
                f"Digital: {self.digital_parameters} other parameters",
                f"Memory: cells of a chip take {memory}, four times that for two pairs",
            ]
        )


def check(path: Path, changes: Sequence[str] = (), data: Path | None = None) -> Checked:
    """What the study of a config will do, after the checks at the start of a run.

    Args:
        path: path of the config.
        changes: `key=value` texts that replace values.
        data: folder with local data sets.

    Raises:
        FileNotFoundError: for a file that is missing.
        ValueError: with one line per mistake.
    """
    config = load_config(path, changes)
    work = run.workload_of(config.workload, data)
    study = kinds()[config.study].prepare(config, work, None)
    report = network_of(config, work).report
    few = min(work.batch, len(work.x))
    outputs = work.apply(work.params, work.x[:few])
    layers = [
        {
            "path": p.path, "groups": p.groups, "rows": p.rows, "columns": p.columns,
            "tiles": p.tiles, "weights": p.groups * p.rows * p.columns,
        }
        for p in report.analog
    ]  # fmt: skip
    weights = sum(v["weights"] for v in layers)
    return Checked(
        study=config.study,
        parts=study.parts,
        chips=config.chips,
        times=list(config.times),
        network=work.name,
        items=len(work.x),
        shape=tuple(work.x.shape[1:]),
        metric=work.metric,
        unit=work.unit,
        first=few,
        digital=float(np.mean(np.asarray(work.items_of(outputs, work.y[:few])))),
        layers=layers,
        tiles=report.tiles,
        weights=weights,
        digital_parameters=len([p for p in report.parameters if not p.sites]),
        bytes_per_device=4 * (1 + HELD) * weights,
    )
