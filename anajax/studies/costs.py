"""What the network of a config costs on a chip, without running the study."""

from pathlib import Path

from anajax import costs
from anajax._core import checks
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


def text(file: Path, chip: str | None, data: Path | None) -> str:
    """Tables of all devices of a config, the weights as `lsp_first` programs them.

    Args:
        file: the config.
        chip: a name or file; that of the config by default, or HERMES.
        data: folder with local data sets.

    Raises:
        ValueError: for an unknown name, or a file that is no record.
    """
    config = load_config(file)
    record = _chip(config, chip)
    work = run.workload_of(config.workload, data)
    found = []
    for section in devices_of(config):
        device = device_of(config, section)
        got = network_costs(work, device, lsp_first(device), record, config.times)
        title = f"{work.name} on {device.name}, weights by lsp_first"
        found.append(f"{title}\n{got.table()}")
    return "\n\n".join(found)


def _chip(config: StudyConfig, name: str | None) -> AnyChip:
    if name is None:
        asked = CostOptions() if config.costs is None else config.costs.record
        return find_chip(asked.chip)
    if name not in CHIPS and not CostOptions(chip=name).file:
        known = f"be one of {', '.join(CHIPS)}, or a .yaml file"
        checks.fail("--chip", known, name, "Name one of these.")
    return find_chip(name)
