"""Run a study: prepare everything that can fail, then work part by part."""

import dataclasses
import hashlib
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.tree_util import Partial

from anajax import chip, devices, rng
from anajax._tree import replace
from anajax._types import Array, PyTree
from anajax.devices.base import Device
from anajax.studies import evaluate as _evaluate
from anajax.studies import hosts, results, sharding, targets_file
from anajax.studies.config import (
    DevicesConfig,
    DeviceSection,
    StudyConfig,
    devices_of,
)
from anajax.studies.folder import Folder
from anajax.studies.learned import build
from anajax.studies.parts import Notify, Parts
from anajax.studies.programs import Programmer
from anajax.studies.results import Part
from anajax.studies.strategy_config import LEARNED, StrategySection
from anajax.studies.strategy_file import from_text, to_text
from anajax.studies.versions import git_state, versions
from anajax.workloads.base import Workload, in_batches
from anajax.workloads.load import load

STRATEGY = "strategy.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One device of a study, with the times that it is asked for."""

    label: str
    device: Device
    times: np.ndarray
    extrapolated: np.ndarray

    @property
    def bare(self) -> Device:
        """The device without its texts, so that equal structures share a trace."""
        return replace(self.device, name="", source="", valid_times=(0.0, 0.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A study whose inputs are all there and valid."""

    config: StudyConfig
    work: Workload
    cases: list[Case]
    folder: Folder
    mesh: Mesh | None = None

    @property
    def strategies(self) -> Sequence[StrategySection]:
        """The entries of the config."""
        return self.config.strategies  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def parts(self) -> int:
        """How many parts there are to do."""
        return len(self.cases) * len(self.strategies)


def prepare(
    config: StudyConfig,
    *,
    out: Path,
    data: Path | None = None,
    resume: bool = False,
    mesh: Mesh | None = None,
) -> Prepared:
    """Load and check all inputs of a study, then open its folder.

    Args:
        config: from `load_config`.
        out: folder of the results.
        data: folder with local data sets, see `anajax.workloads.load`.
        resume: whether to go on with the study that was begun in `out`.
        mesh: devices that share the chips; the default one does all without.

    Raises:
        FileNotFoundError: for data or a device file that is missing.
        ModuleNotFoundError: for a missing package that carries data.
        ValueError: for inputs that do not fit each other, or a folder that is in use
            or cannot be written to.
    """
    if config.study in ("sensitivity", "sweep"):
        if mesh is not None:
            raise ValueError(
                f"`--devices` must be 1 for a study of kind {config.study}: got a mesh "
                "of devices. Leave it out: these studies run on one device."
            )
        module = importlib.import_module(f"anajax.studies.{config.study}")
        return module.prepare(config, out=out, data=data, resume=resume)
    with hosts.together():
        cases = [_case(config, section) for section in devices_of(config)]
        _check_labels(cases)
        _check_learned(config, cases)
        work = load(config.workload.name, data=data, items=config.workload.items)
        asked = identity(config, work)
    folder = hosts.open_folder(out, asked, resume=resume)
    return Prepared(config=config, work=work, cases=cases, folder=folder, mesh=mesh)


def identity(config: StudyConfig, work: Workload) -> dict[str, Any]:
    """What decides the bits of the results: config, versions, data, device files."""
    digests: dict[str, str] = {}

    def name(file: str) -> str:
        content = Path(file).read_bytes()
        digests[Path(file).name] = hashlib.sha256(content).hexdigest()
        return Path(file).name

    asked = config.with_files(name).model_dump(mode="json")
    return {
        "config": asked,
        "versions": versions(),
        "source": work.source,
        "device_files": digests,
        "backend": jax.default_backend(),
    }


def run(study: Prepared, *, notify: Notify = lambda text, done: None) -> Any:
    """Do all parts that are not done, and write results and strategies.

    Args:
        study: from `prepare`.
        notify: told of every part that is begun and finished.

    Returns:
        The results as an xarray Dataset, as written to `results.nc`.
    """
    if not isinstance(study, Prepared):
        return study.run(notify=notify)
    metric = make_metric(study.work)
    ideal = float(jax.jit(metric)(study.work.params))
    if study.mesh is not None:
        metric = sharding.place(metric, study.mesh, cut="items")
    tables, programs = [], {}
    for case in study.cases:
        parts = _parts(study, case, metric, notify)
        tables.append(_dataset(study, case, parts, ideal))
        for label, part in parts.items():
            name = label if len(study.cases) == 1 else f"{case.label}/{label}"
            found = from_text(part.strategies, name)
            if label in found:  # learned targets follow no table
                programs[name] = found[label]
    data = _combine(study, tables, ideal)
    study.folder.write(STRATEGY, to_text(programs).encode())
    study.folder.write(results.RESULTS, results.to_netcdf(data))
    return data


def make_metric(work: Workload) -> Callable[[PyTree], Array]:
    """The metric of a network with given parameters, the mean over all test items.

    The items are its arguments, so that `sharding.place` can cut them.
    """
    n = work.x.shape[0]
    batch = min(work.batch, n)

    def metric(x: Array, y: Array, params: PyTree) -> Array:
        def one(x_y: tuple[Array, Array]) -> Array:
            return work.metric_fn(work.apply(params, x_y[0]), x_y[1])

        return jnp.mean(jax.lax.map(one, (x, y)).ravel()[:n])

    return Partial(metric, in_batches(work.x, batch), in_batches(work.y, batch))


def _parts(
    study: Prepared, case: Case, metric: Callable[[PyTree], Array], notify: Notify
) -> dict[str, Part]:
    key = jax.random.key(study.config.seed)
    programmer = Programmer(
        config=study.config,
        device=case.bare,
        weights=chip.weights(study.work.params),
        times=case.times,
        key=rng.stream(key, rng.Stage.INIT),
    )
    saved, parts = Parts(study.folder, notify), {}
    for entry in study.strategies:
        name = f"{case.label}-{entry.title}"
        title = f"{case.label}: {entry.title}"

        def compute(entry: StrategySection = entry) -> dict[str, Any]:
            return vars(_part(study, case, entry, programmer, metric))

        parts[entry.title] = Part.of(saved.get(name, compute, title=title))
    return parts


def _part(
    study: Prepared,
    case: Case,
    entry: StrategySection,
    programmer: Programmer,
    metric: Callable[[PyTree], Array],
) -> Part:
    built = build(entry, programmer, study.work)
    if entry.name == "targets":
        name = f"{targets_file.FOLDER}/{case.label}-{entry.title}.safetensors"
        study.folder.write(name, targets_file.to_bytes(built.layers, built.params))
    measured = _evaluate.evaluate(
        metric,
        built.params,
        case.bare,
        built.layers,
        case.times,
        chips=study.config.chips,
        key=jax.random.key(study.config.seed),
        chunk=study.config.chunk,
        scope=study.config.compensation.scope,
        recalibrate=study.config.compensation.recalibrate,
        mesh=study.mesh,
    )
    return Part(
        metric=np.asarray(measured.metric),
        weight_rms_error=np.asarray(measured.weight_rms_error),
        expected_rms_error=built.expected_error,
        strategies=to_text({entry.title: built.strategies} if built.strategies else {}),
    )


def _case(config: StudyConfig, section: DeviceSection) -> Case:
    device = make_device(section)
    times = np.asarray(config.times)
    if isinstance(config, DevicesConfig) and not config.extrapolate:
        low, high = device.valid_times
        times = times[(times >= low * (1 - 1e-6)) & (times <= high * (1 + 1e-6))]
        if not times.size:
            raise ValueError(
                f"`times` must have one in {low:g} to {high:g} s, what the source of "
                f"{device.name!r} covers: got {config.times} s. Add one, drop the "
                "device, or set `extrapolate: true`."
            )
    label = Path(section.file).stem if section.file else device.name
    outside = uncovered(config, device, times)
    return Case(label=label, device=device, times=times, extrapolated=outside)


def uncovered(config: StudyConfig, device: Device, times: np.ndarray) -> np.ndarray:
    """Which of the times the source of a device does not cover.

    Raises:
        ValueError: if there are some, and the config does not extrapolate.
    """
    try:
        return devices.check_times(device, times, extrapolate=config.extrapolate)
    except ValueError as error:
        raise ValueError(f"{error} In a config: `extrapolate: true`.") from None


def make_device(section: DeviceSection) -> Device:
    """The device of a config's section.

    Raises:
        ValueError: if an option has no valid value, a file no valid device, or a
            level lies outside the range.
    """
    if section.file is not None:
        from anajax.devices.files import load_device

        device = load_device(section.file)
    else:
        try:
            device = devices.presets()[section.name or ""](**section.options)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`device.options` must make a valid {section.name}: got "
                f"{section.options} ({error}). Correct them."
            ) from None
    if section.levels is not None:
        device = replace(device, levels=section.levels)
    noise = section.noise.model_dump()
    if all(v == 1 for v in noise.values()):
        return device
    return devices.scale_noise(device, **noise)


def _check_labels(cases: list[Case]) -> None:
    labels = [c.label for c in cases]
    twice = sorted({c for c in labels if labels.count(c) > 1})
    if twice:
        raise ValueError(
            f"`devices` must have distinct names: got {twice} twice. Drop one."
        )


def _check_learned(config: StudyConfig, cases: list[Case]) -> None:
    for entry in getattr(config, "strategies", []):
        for case in cases:
            if entry.name in LEARNED and case.device.levels is not None:
                raise ValueError(
                    f"`strategies` must leave out {entry.name!r} for a device of few "
                    f"levels: got {case.label}. Use `optimized`: it enumerates codes."
                )


def _dataset(
    study: Prepared, case: Case, parts: dict[str, Part], digital: float
) -> Any:
    found = ("optimized", *LEARNED)
    kinds = {
        e.title: "optimized" if e.name in found else "hand" for e in study.strategies
    }
    return results.dataset(
        parts,
        kinds,
        work=study.work,
        digital=digital,
        times=case.times,
        extrapolated=case.extrapolated,
    )


def _combine(study: Prepared, tables: list[Any], digital: float) -> Any:
    import xarray as xr

    from anajax.studies.device_curves import device_curves

    if isinstance(study.config, DevicesConfig):
        data = xr.concat(tables, dim="device", join="outer", coords="minimal")
        data = data.assign_coords(device=[c.label for c in study.cases])
        models = [c.device for c in study.cases]
        data["device_source"] = ("device", [d.source for d in models])
        for name, of in (("range_low", "g_min"), ("range_high", "g_max")):
            values = [float(getattr(d, of)) for d in models]
            data[name] = ("device", values, {"units": "uS"})
        levels = [0 if d.levels is None else d.levels.size for d in models]
        data["levels"] = ("device", levels, {"comment": "0: analog"})
    else:
        data, case = tables[0], study.cases[0]
        curves = device_curves(case.device)
        data = data.assign_coords(
            conductance=("conductance", curves.pop("conductance"), {"units": "uS"}),
            device_time=("device_time", curves.pop("device_time"), {"units": "s"}),
        )
        for name, values in curves.items():
            dims = ("conductance", "device_time")[: values.ndim]
            data[name] = (dims, values, {"units": "uS"})
        data.attrs["device_source"] = case.device.source
        data.attrs["device"] = case.label
    recalibrated = study.config.compensation.recalibrate
    density = _density(study)
    data = data.assign_coords(weight=("weight", density[0], {"units": "w / w_max"}))
    data["weight_share"] = ("weight", density[1], {"units": "1"})
    return data.assign_attrs(
        results.attributes(
            study.folder.identity,
            metric=study.work.metric,
            digital_metric=digital,
            seed=study.config.seed,
            workload=study.work.name,
            items=int(study.work.x.shape[0]),
            data_source=study.work.source["data"],
            weights=study.work.source["weights"],
            compensation=study.config.compensation.scope,
            git=git_state(),
            json=json.dumps(["config", "versions", "source", "device_files"]),
            **({} if recalibrated is None else {"recalibrated": recalibrated}),
        )
    )


def _density(study: Prepared) -> tuple[np.ndarray, np.ndarray]:
    """Share of the normalized weights in bins of -1..1, and the bins' centers."""
    arrays = chip.weights(study.work.params).values()
    u = np.concatenate([np.ravel(w / np.max(np.abs(w))) for w in arrays])
    count, edges = np.histogram(u, bins=201, range=(-1, 1))
    return (edges[:-1] + edges[1:]) / 2, count / count.sum()
