"""Results as plain tables, one per set of dimensions, and figures as PDF."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from anajax._core import checks
from anajax._core.disk import write_atomically, writing
from anajax.programming import strategy_file
from anajax.studies.kinds.catalog import kind_of
from anajax.studies.report import results
from anajax.studies.report.plots import render
from anajax.studies.report.statistics import over

Form = Literal["csv", "parquet", "pdf"]
"""What is written: tables, or figures."""


def write(folder: Path, out: Path, forms: Sequence[Form]) -> list[Path]:
    """Write the results of a study in formats for other tools.

    Args:
        folder: folder of the study.
        out: folder for the files; it is created.
        forms: "csv" and "parquet" for tables, "pdf" for figures.

    Raises:
        FileNotFoundError: if there are no results.
        ImportError: if Parquet is requested without pyarrow.
        ValueError: if the results are damaged, or no format is requested.
        WriteError: an OSError, if the files cannot be written.
    """
    for form in forms if isinstance(forms, list | tuple) else [forms]:
        checks.word("forms", form, Form)
    if not forms:
        checks.fail("--csv", "be given, or --parquet or --pdf", "none", "Choose some.")
    data = results.read_results(folder)
    files: dict[str, bytes] = {"attributes.json": _attributes(data)}
    for name, frame in tables(data).items():
        if "csv" in forms:
            files[f"{name}.csv"] = frame.to_csv(index=False).encode()
        if "parquet" in forms:
            files[f"{name}.parquet"] = _parquet(frame)
    if "pdf" in forms:
        files |= _figures(folder, data)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(out / name, content)
    return [out / name for name in files]


def tables(data: xr.Dataset) -> dict[str, Any]:
    """Data frames by the dimensions of their rows, joined by "-"."""
    by_dims: dict[tuple[str, ...], list[str]] = {}
    for name, array in data.data_vars.items():
        if array.size:
            by_dims.setdefault(tuple(map(str, array.dims)), []).append(str(name))
    found = {}
    for dims, names in by_dims.items():
        if dims:
            frame = data[names].to_dataframe(dim_order=list(dims)).reset_index()
            found["-".join(dims)] = frame
        else:
            found["study"] = xr.Dataset.to_pandas(data[names]).to_frame().T
    return found


SMALL = 1000
"""Most entries of an array in a summary."""


def summary(data: xr.Dataset) -> dict[str, Any]:
    """A summary of the results for JSON: the metric over chips, all small arrays."""
    name, rows = str(data.attrs["metric"]), []
    if name in data:
        found, count = over(data[name]), data[name].notnull().sum("chip")
        dims = list(map(str, found["value"].dims))
        for place in itertools.product(*(range(found.sizes[d]) for d in dims)):
            at = dict(zip(dims, place, strict=True))
            one = found.isel(at)
            if bool(one["value"].notnull()):
                where = {d: found[d].values[i].item() for d, i in at.items()}
                numbers = {"mean": one["value"].item(), "standard_error": one["error"]}
                rows.append({**where, **numbers, "chips": count.isel(at).item()})
    small = {
        str(n): {"dims": list(map(str, v.dims)), "values": v.values}
        for n, v in data.variables.items()
        if v.size <= SMALL and not {"chip", "item"} & set(map(str, v.dims))
    }
    keys = ("study", "workload", "metric", "unit", "better", "digital_metric", "items")
    about = {key: data.attrs[key] for key in (*keys, "seed")}
    return {**about, "rows": rows, "arrays": small}


def _parquet(frame: Any) -> bytes:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError("Parquet needs `pip install anajax[fit]`.") from error
    return frame.to_parquet(index=False)


def _attributes(data: xr.Dataset) -> bytes:
    """Attributes of the study, and units of all columns."""

    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    attrs = {k: plain(v) for k, v in data.attrs.items()}
    units = {str(n): str(v.attrs.get("units", "1")) for n, v in data.variables.items()}
    return json.dumps({"study": attrs, "units": units}, indent=1).encode()


def _figures(folder: Path, data: xr.Dataset) -> dict[str, bytes]:
    file, found = folder / strategy_file.FILE, {}
    if folder.is_dir() and file.is_file():
        found = strategy_file.load_strategies(file)
    return {
        f"{drawing.name}.pdf": render(drawing.draw, ("pdf",))["pdf"]
        for block in kind_of(data).blocks(data, found)
        for drawing in block.drawings
    }
