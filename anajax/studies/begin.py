"""Before a study: files to start from, and what a config asks for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anajax._core import checks
from anajax._core.disk import write_atomically
from anajax.analysis.evaluate import HELD
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.workload import Workload
from anajax.costs.counts import aligned
from anajax.studies import run
from anajax.studies.config.durations import human
from anajax.studies.config.study import StudyConfig
from anajax.studies.kinds.catalog import kinds
from anajax.studies.load import load_config
from anajax.studies.plan import network_of

TEMPLATE = Path(__file__).parent / "template"
FILES = ("config.yaml", "my_net.py", "README.md")


def init(folder: Path) -> list[Path]:
    """Write a config, a network and a README to start from.

    Args:
        folder: for them; it is made if it is not there.

    Raises:
        ValueError: if one of these files is there.
        WriteError: an OSError, if the disk does not take them.
    """
    there = [name for name in FILES if (folder / name).exists()]
    if there or folder.is_file():
        got = f"{', '.join(there) or 'a file'} in {folder}"
        checks.fail("DIR", "hold none of these files", got, "Name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        write_atomically(folder / name, (TEMPLATE / name).read_bytes())
    return [folder / name for name in FILES]


def check(path: Path, changes: Sequence[str] = (), data: Path | None = None) -> str:
    """What the study of a config will do, after the checks that a run begins with.

    Args:
        path: of the config.
        changes: `key=value` texts that replace values.
        data: folder with local data sets.

    Raises:
        FileNotFoundError: for a file that is missing.
        ValueError: with one line per mistake.
    """
    config = load_config(path, changes)
    work = run.workload_of(config.workload, data)
    study = kinds()[config.study].prepare(config, work, None)
    network = network_of(config, work)
    return "\n".join([*_study(config, work, study.parts), "", *_layers(network)])


def _study(config: StudyConfig, work: Workload, parts: int) -> list[str]:
    few = min(work.batch, len(work.x))
    outputs = work.apply(work.params, work.x[:few])
    value = float(np.mean(np.asarray(work.metric_fn(outputs, work.y[:few]))))
    unit = "" if work.unit == "1" else f" {work.unit}"
    times = ", ".join(map(human, config.times))
    return [
        f"Study: {config.study}, {parts} parts, {config.chips} chips at {times}",
        f"Network: {work.name}, {len(work.x)} test items of shape {work.x.shape[1:]}",
        f"Digital {work.metric} of the first {few} items: {value:.4g}{unit}",
    ]


def _layers(network: AnalogNetwork) -> list[str]:
    """What lies on tiles, and the memory that its cells take."""
    report, rows, weights = network.report, [], 0
    for p in report.analog:
        size = p.groups * p.rows * p.columns
        weights += size
        shape = f"{p.groups} x {p.rows} x {p.columns}"
        rows.append((p.path, shape, p.tiles, size))
    rows.append(("all", "", report.tiles, weights))
    table = aligned(("layer", "matrices x rows x columns", "tiles", "weights"), rows)
    digital = [p.path for p in report.parameters if not p.sites]
    bytes_each = 4 * (1 + HELD)
    memory = f"{weights * bytes_each / 2**20:.3g} MiB for each device of a weight"
    return [
        *table.splitlines(),
        "",
        f"Digital: {len(digital)} other parameters",
        f"Memory: cells of a chip take {memory}, of two pairs four times that",
    ]
