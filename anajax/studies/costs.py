"""The costs of the network of a config on a chip, without running the study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anajax import costs
from anajax._core import checks
from anajax._core.nearest import did_you_mean
from anajax.analysis.workload import Workload
from anajax.chip import Strategies
from anajax.costs.chips import AnyChip
from anajax.costs.known import CHIPS, CostOptions, find_chip
from anajax.devices.base import Device
from anajax.mapping.hand import lsp_first
from anajax.studies import run
from anajax.studies.config.study import StudyConfig, devices_of
from anajax.studies.load import load_config
from anajax.studies.plan import device_of


def network_costs(
    work: Workload,
    device: Device,
    strategy: Strategies,
    chip: AnyChip,
    times: list[float],
) -> costs.Costs:
    """The costs of a loaded network, programmed by a strategy."""
    return costs.costs(
        work.apply, work.params, work.calibration[: CostOptions.inputs], chip=chip,
        device=device, strategy=strategy, times=times, extrapolate=True,
    )  # fmt: skip


def of_config(
    file: Path,
    chip: str | None,
    data: Path | None,
    changes: Sequence[str] = (),
) -> dict[str, costs.Costs]:
    """Costs on all devices of a config by title, programmed with `lsp_first`.

    Args:
        file: the config.
        chip: name or file of a chip; that of the config by default, or HERMES.
        data: folder with local data sets.
        changes: `key=value` texts that replace values.

    Raises:
        ValueError: for an unknown name, or an invalid file.
    """
    config = load_config(file, changes)
    record = _chip(config, chip)
    work = run.workload_of(config.workload, data)
    found = {}
    for section in devices_of(config):
        device = device_of(config, section)
        got = network_costs(work, device, lsp_first(device), record, config.times)
        found[f"{work.name} on {device.name}, programmed with lsp_first"] = got
    return found


def text(found: Mapping[str, costs.Costs]) -> str:
    """Tables of costs below their titles."""
    return "\n\n".join(f"{title}\n{got.table()}" for title, got in found.items())


def summary(found: Mapping[str, costs.Costs]) -> list[dict[str, Any]]:
    """Costs as plain values, for JSON."""
    return [
        {
            "title": title,
            "chip": got.chip.name,
            "basis": got.basis,
            "source": got.chip.source,
            "times_s": got.times,
            "energy_uJ": np.asarray(got.per_inference),
            "energy_by_part_uJ": {
                part: np.asarray(e).sum(0) for part, e in got.energy.items()
            },
            "layers": [
                {"path": layer.path, "tiles": layer.tiles, "products": layer.products,
                 "seconds": got.seconds[i]}
                for i, layer in enumerate(got.counts.layers)
            ],
            "latency_s": got.latency,
            "inferences_per_s": got.throughput,
            "TOPS_per_W": np.asarray(got.tops_per_watt),
            "area_mm2": got.area,
            "chips": got.chips,
        }
        for title, got in found.items()
    ]  # fmt: skip


def _chip(config: StudyConfig, name: str | None) -> AnyChip:
    if name is None:
        asked = CostOptions() if config.costs is None else config.costs.record
        return find_chip(asked.chip)
    if name not in CHIPS and not CostOptions(chip=name).file:
        known = f"be one of {', '.join(CHIPS)}, or a .yaml file"
        remedy = f"{did_you_mean(name, CHIPS)}Name one of these."
        checks.fail("--chip", known, name, remedy)
    return find_chip(name)
