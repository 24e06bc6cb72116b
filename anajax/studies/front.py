"""A study from Python: a config, optionally your own network, and results."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from jax.sharding import Mesh

from anajax._core import checks
from anajax.analysis.workload import Workload
from anajax.studies import run as studies
from anajax.studies.config.study import StudyConfig
from anajax.studies.config.workload import WorkloadSection
from anajax.studies.load import load_config, read_config, validate
from anajax.studies.report.report import write_report
from anajax.studies.store.folder import Resume, check_resume

Config = str | Path | Mapping[str, Any]


def run(
    config: Config,
    *,
    workload: Workload | None = None,
    out: str | Path | None = None,
    data: str | Path | None = None,
    changes: Sequence[str] = (),
    resume: Resume = False,
    mesh: Mesh | None = None,
) -> xr.Dataset:
    """Run a study of any kind, as `anajax run` does.

    Args:
        config: the path of a YAML file, or its keys and values. It has no section
            `workload` if `workload` is passed.
        workload: your network, from `anajax.workload`, instead of the one in the
            config.
        out: folder for results, figures and the report; nothing is kept by default.
        data: folder with local data sets.
        changes: `key=value` texts that replace values of a file, like `--set`.
        resume: whether to continue the study in `out`; "auto": start or continue it.
            Networks are compared by their numbers, not by their code.
        mesh: accelerators that share the chips, from `make_mesh`.

    Returns:
        The results: labeled arrays with units, and descriptive attributes.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: with one line per mistake in the config, or if the folder is in use.

    Example:
        >>> work = anajax.workload(apply, params, x, jnp.argmax(apply(params, x), -1))
        >>> asked = {"study": "strategies", "device": {"name": "pcm"}, "chips": 2,
        ...          "times": ["1 h"], "strategies": ["lsp_first"]}
        >>> results = anajax.run(asked, workload=work)
        >>> results.accuracy.dims
        ('device', 'strategy', 'chip', 'time')
    """
    check_resume(resume)
    asked = _config(config, workload, changes)
    with _folder(out) as folder:
        study = studies.prepare(
            asked,
            out=folder,
            data=None if data is None else Path(data),
            resume=resume,
            mesh=mesh,
            workload=workload,
        )
        found = studies.run(study)
        if out is not None:
            write_report(folder)
    return found


def _config(
    config: Config, workload: Workload | None, changes: Sequence[str]
) -> StudyConfig:
    if isinstance(config, Mapping):
        given, folder = dict(config), Path()
    elif workload is None:
        return load_config(Path(config), changes)
    else:
        given, folder = read_config(Path(config), changes), Path(config).parent
    if workload is not None:
        if not isinstance(workload, Workload):
            got, remedy = type(workload).__name__, "Pass anajax.workload(...)."
            checks.fail("workload", "be a workload", got, remedy)
        if "workload" in given:
            rule = "be given once"
            got = "one in the config, and one here"
            checks.fail("workload", rule, got, "Leave out the section of the config.")
        given["workload"] = WorkloadSection.model_construct(name=workload.name)
    return validate(given, folder=folder)


@contextlib.contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="anajax-") as folder:
        yield Path(folder)
