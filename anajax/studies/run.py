"""Run a study of any kind: prepare everything that can fail, then work part by part."""

import contextlib
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from anajax.analysis.workload import Workload, evaluate, set_aside
from anajax.studies import own
from anajax.studies.config.study import StudyConfig
from anajax.studies.config.workload import WorkloadSection
from anajax.studies.kinds.catalog import kinds
from anajax.studies.report import choices, results
from anajax.studies.store import hosts
from anajax.studies.store.clock import Ahead
from anajax.studies.store.folder import Folder, Resume, check_resume, require_begun
from anajax.studies.store.parts import Notify, Parts, Within
from anajax.studies.store.versions import versions
from anajax.workloads.catalog import load


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A study and its open folder."""

    study: Any
    """A `anajax.studies.kinds.base.Study`."""
    config: StudyConfig
    work: Workload
    folder: Folder

    @property
    def parts(self) -> int:
        """Number of parts."""
        return self.study.parts

    @property
    def ahead(self) -> list[Ahead]:
        """What is known of each part before it begins, if they differ."""
        return getattr(self.study, "ahead", [])

    @property
    def report_seconds(self) -> float:
        """About the seconds that its figures and report take."""
        return getattr(self.study, "report_seconds", 4.0)


def prepare(
    config: StudyConfig,
    *,
    out: Path,
    data: Path | None = None,
    resume: Resume = False,
    mesh: Mesh | None = None,
    workload: Workload | None = None,
) -> Prepared:
    """Load and check all inputs of a study, then open its folder.

    Args:
        config: from `load_config`.
        out: folder for the results.
        data: folder with local data sets, see `anajax.workloads.load`.
        resume: whether to continue the study in `out`; "auto": start or continue it.
        mesh: accelerators that share the chips; None for the default one.
        workload: the network, instead of the one that the config names.

    Raises:
        FileNotFoundError: if data or a device file is missing.
        ModuleNotFoundError: if a package with data is missing.
        ValueError: if inputs do not fit each other, or the folder is in use, cannot be
            written to, or holds nothing to continue.
        WriteError: an OSError, if the disk is full.
    """
    check_resume(resume)
    kind = kinds()[config.study]
    with hosts.together(), exact():
        if hosts.is_main_process():
            require_begun(out, resume)
        work = workload or workload_of(config.workload, data)
        work = set_aside(work, config.held_out)
        study = kind.prepare(config, work, mesh)
        asked = identity(config, work)
    folder = hosts.open_folder(out, asked, resume=resume)
    return Prepared(study=study, config=config, work=work, folder=folder)


def workload_of(section: WorkloadSection, data: Path | None) -> Workload:
    """The network that a config names.

    Args:
        section: section of the config.
        data: folder with local data sets.
    """
    if section.name is not None:
        return load(section.name, data=data, items=section.items)
    return own.network(section)


def run(
    prepared: Prepared,
    *,
    notify: Notify = lambda text, done: None,
    within: Within = lambda stage, share: None,
) -> xr.Dataset:
    """Compute all parts that are not done yet, write the results, and close the folder.

    Args:
        prepared: from `prepare`.
        notify: called when a part begins, makes progress, and is finished.
        within: called with the progress within a stage of the current part.

    Returns:
        The results, as written to `results.nc`.

    Raises:
        WriteError: an OSError, if a file cannot be written. Saved files are complete; a
            resumed study has the same results.
    """
    config, work, folder = prepared.config, prepared.work, prepared.folder
    try:
        with exact():
            digital = np.asarray(evaluate(work))
            parts = Parts(folder, notify, within)
            data = prepared.study.run(parts, digital)
            data = choices.beside(data, parts.choices)
        data = results.finished(data, config, work, digital, folder.identity)
        folder.write(results.RESULTS, results.to_netcdf(data))
        return data
    finally:
        folder.close()


def exact() -> contextlib.AbstractContextManager[None]:
    """Use full float32 precision for products, as on a CPU: a GPU would use TF32."""
    return jax.default_matmul_precision("highest")


def identity(config: StudyConfig, work: Workload) -> dict[str, Any]:
    """What determines the bits of the results: config, versions, data, device files."""
    digests: dict[str, str] = {}

    def name(file: str, key: str = "") -> str:
        del key
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
