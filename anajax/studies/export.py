"""Chip images of studies: what a strategy programs on the chips, as files."""

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anajax import chip
from anajax._core import checks
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.workload import Workload, set_aside
from anajax.crossbar.converters import ContinuousBits
from anajax.crossbar.periphery import IO, ConstantScale, OutputNoise
from anajax.devices.base import Device
from anajax.interop.image import Image, Product
from anajax.studies import run
from anajax.studies.config.study import ProgrammedConfig, StudyConfig, devices_of
from anajax.studies.kinds.catalog import kinds
from anajax.studies.load import load_config, validate
from anajax.studies.plan import case_of, network_of
from anajax.studies.programs import Programs
from anajax.studies.store import lock
from anajax.studies.store.folder import MANIFEST, Folder
from anajax.studies.store.parts import Parts
from anajax.studies.store.versions import versions
from anajax.studies.ways.site import Program


def export(
    place: str | Path,
    strategy: str | None = None,
    *,
    device: str | None = None,
    tiles: tuple[int | None, int | None] | None = None,
    workload: Workload | None = None,
    data: str | Path | None = None,
    files: str | Path = ".",
) -> Image:
    """The chip image of one strategy of a study.

    Search and training results are read from the folder of a finished study, or made
    for a config.

    Args:
        place: folder of a study, or the path of a config.
        strategy: its label; not needed if there is only one.
        device: label of a device, if there are several.
        tiles: most rows and columns per tile; those of the study by default. Converter
            ranges are calibrated for them.
        workload: the network, instead of the one that the config names.
        data: folder with local data sets.
        files: folder of the files that the config of a folder names.

    Raises:
        FileNotFoundError: for a file that is missing.
        ValueError: for an unknown label, or a strategy that targets alone do not
            describe.
    """
    place = Path(place)
    with _opened(place) as folder:
        config = _config(place, folder, Path(files), workload)
        work = workload or run.workload_of(config.workload, data and Path(data))
        work = set_aside(work, config.held_out)
        if folder is not None:
            _check_same(folder, work)
        with run.exact():
            program, model = _program(config, work, folder, strategy, device)
            network = _cut(network_of(config, work), tiles)
            periphery = _periphery(network, model, program.params)
    rest, label = _digital(program), strategy or _labels(config)[0]
    groups = {p.path: p.groups for p in network.report.analog if not p.layout.stack}
    return Image(
        layers=_written(program), device=model, digital=rest, network=work.name,
        strategy=label, seed=config.seed, tiles=network.periphery.tiles,
        groups={p: n for p, n in groups.items() if n > 1 and p in program.layers},
        periphery=periphery, scope=config.compensation.scope, versions=versions(),
    )  # fmt: skip


@contextlib.contextmanager
def _opened(place: Path) -> Iterator[Folder | None]:
    """The folder of a study, held; none for a config."""
    if not place.is_dir():
        yield None
        return
    if not (place / MANIFEST).is_file():
        got, remedy = f"{place} without {MANIFEST}", "Name a study's folder or config."
        checks.fail("RUN", "be the folder of a study, or a config", got, remedy)
    with lock.held(place):
        yield Folder.read(place)


def _config(
    place: Path, folder: Folder | None, files: Path, workload: Workload | None
) -> StudyConfig:
    if folder is None:
        return load_config(place)
    given = dict(folder.identity["config"])
    if workload is not None:
        from anajax.studies.config.workload import WorkloadSection

        given["workload"] = WorkloadSection.model_construct(name=workload.name)
    return validate(given, folder=files)


def _check_same(folder: Folder, work: Workload) -> None:
    """Refuse a network that is not the study's."""
    was = folder.identity["source"]
    if json.loads(json.dumps(work.source)) != was:
        got = f"{work.source}, not {was}"
        checks.fail("workload", "be that of the study", got, "Pass the same.")


def _cut(
    network: AnalogNetwork, tiles: tuple[int | None, int | None] | None
) -> AnalogNetwork:
    """The network on tiles of another size."""
    if tiles is None:
        return network
    periphery = dataclasses.replace(network.periphery, rows=tiles[0], columns=tiles[1])
    return dataclasses.replace(network, periphery=periphery)


def _labels(config: StudyConfig) -> list[str]:
    return [way.title for way in config.ways]


def _program(
    config: StudyConfig,
    work: Workload,
    folder: Folder | None,
    strategy: str | None,
    device: str | None,
) -> tuple[Program, Device]:
    """What goes on the chips, and the device that it was chosen for."""
    labels = _labels(config)
    if strategy is None and len(labels) > 1:
        checks.fail("--strategy", "name one", "none", f"There are {labels}.")
    label = strategy or labels[0]
    if label not in labels:
        checks.fail("--strategy", f"be one of {labels}", repr(label), "Choose one.")
    kinds()[config.study].prepare(config, work, None)  # all that can fail
    case = _case([case_of(config, each) for each in devices_of(config)], device)
    way = next(way for way in config.ways if way.title == label)
    alone = isinstance(config, ProgrammedConfig)  # or points have programs
    with _parts(folder if alone else None) as parts:
        program = Programs(config, network_of(config, work), case, parts).of(way)
    if not program.layers:
        checks.fail("--strategy", "put weights on chips", label, "Name another.")
    return program, case.device


def _case(cases: list[Any], device: str | None) -> Any:
    labels = [case.label for case in cases]
    if device is None and len(labels) > 1:
        checks.fail("--device", "name one", "none", f"There are {labels}.")
    if device is not None and device not in labels:
        checks.fail("--device", f"be one of {labels}", repr(device), "Choose one.")
    return next(case for case in cases if device in (None, case.label))


@contextlib.contextmanager
def _parts(folder: Folder | None) -> Iterator[Parts]:
    """The parts of a finished study, or a place for those of a config."""

    def quiet(text: str, done: bool) -> None:
        del text, done

    if folder is not None:
        yield Parts(folder, quiet)
        return
    with tempfile.TemporaryDirectory(prefix="anajax-") as name:
        made = Folder.open(Path(name), {})
        try:
            yield Parts(made, quiet)
        finally:
            made.close()


def _written(program: Program) -> dict[str, chip.LayerProgram]:
    """Targets by path; those of large networks are made when they are wanted."""
    layers: dict[str, Any] = dict(program.layers)
    kernels = chip.weights(program.params, select=lambda path, _: path in layers)
    return {
        path: layer.of(kernels[path]) if isinstance(layer, chip.Unwritten) else layer
        for path, layer in layers.items()
    }


def _digital(program: Program) -> dict[str, np.ndarray]:
    rest = chip.others(program.params, select=lambda path, _: path in program.layers)
    return {path: np.asarray(v) for path, v in rest.items()}


def _periphery(
    network: AnalogNetwork, device: Device, params: Any
) -> tuple[Product, ...]:
    """The converters of every product, as numbers."""
    ios: Mapping[str, IO] = network.hardware(device, params=params).ios
    return tuple(
        _product(name, io, tuple(network.sites[name].layouts))
        for name, io in ios.items()
    )


def _product(name: str, io: IO, weights: tuple[str, ...]) -> Product:
    arrays: dict[str, Any] = {}
    bits: dict[str, float | None] = {"dac_bits": None, "adc_bits": None}
    if isinstance(io.scaling, ConstantScale):
        arrays["input_scale"] = np.asarray(io.scaling.value, np.float32)
    for kind in ("dac", "adc"):
        converter = getattr(io, kind)
        if isinstance(converter, ContinuousBits):
            codes = float(np.asarray(converter.codes))
            bits[f"{kind}_bits"] = float(np.log2(codes + 1) + 1)
            arrays[f"{kind}_bound"] = np.asarray(converter.bound, np.float32)
    if isinstance(io.noise, OutputNoise):
        arrays["output_noise"] = np.asarray(io.noise.sd, np.float32)
    return Product(name=name, weights=weights, arrays=arrays, **bits)
