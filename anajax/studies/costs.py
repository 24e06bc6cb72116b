"""What the network of a config costs on a chip, without running the study."""

from pathlib import Path

from anajax import costs
from anajax.analysis.workload import Workload
from anajax.chip import Strategies
from anajax.costs.chips import CHIPS, AnyChip, ChipRecord
from anajax.devices.base import Device
from anajax.mapping.hand import lsp_first
from anajax.studies import run
from anajax.studies.config.study import devices_of
from anajax.studies.load import load_config
from anajax.studies.plan import device_of

ITEMS = 8
"""Calibration inputs whose moments weigh the conductances."""


def chip_named(name: str) -> AnyChip:
    """A record by name or file, calibrated where it has published figures.

    Raises:
        ValueError: for an unknown name, or a file that is no record.
    """
    if name.endswith((".yaml", ".yml")):
        return costs.load_chip(Path(name))
    if name not in CHIPS:
        known = ", ".join(CHIPS)
        raise ValueError(
            f"`--chip` must be one of {known}, or a .yaml file: got {name!r}. "
            "Name one of these."
        )
    chip = CHIPS[name]()
    own = isinstance(chip, ChipRecord) and chip.measured
    return costs.calibrated(chip) if own else chip  # pyright: ignore[reportArgumentType]


def network_costs(
    work: Workload,
    device: Device,
    strategy: Strategies,
    chip: AnyChip,
    times: list[float],
) -> costs.Costs:
    """The costs of a loaded network, programmed by a strategy."""
    return costs.costs(
        work.apply, work.params, work.calibration[:ITEMS], chip=chip, device=device,
        strategy=strategy, times=times, extrapolate=True,
    )  # fmt: skip


def text(file: Path, chip: str, data: Path | None) -> str:
    """Tables of all devices of a config, the weights as `lsp_first` programs them."""
    config = load_config(file)
    record = chip_named(chip)
    work = run.workload_of(config.workload, data)
    found = []
    for section in devices_of(config):
        device = device_of(config, section)
        got = network_costs(work, device, lsp_first(device), record, config.times)
        title = f"{work.name} on {device.name}, weights by lsp_first"
        found.append(f"{title}\n{got.table()}")
    return "\n\n".join(found)
