"""Evaluation of a measured chip: accuracy, errors, model fit, and new targets."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from anajax import chip, rng
from anajax._core import checks
from anajax._core.disk import write_atomically
from anajax._core.types import JArray, PyTree
from anajax._core.units import human
from anajax.analysis.workload import Workload, evaluate
from anajax.compensation import compensation
from anajax.devices.fitting.judge import Judgement, expected, judge, verdict, z_scores
from anajax.interop import image as images
from anajax.interop.image import Image, tiles
from anajax.interop.image.measured import Measured, parts_of
from anajax.layer import combined
from anajax.studies.report.plots import render

STUCK = 6.0
"""Standard deviations beyond which, at all times, a cell is called stuck."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """Results of the evaluation."""

    times: tuple[float, ...]
    metric: tuple[float, ...] | None
    """Metric of the network on this chip at each time, if there is a network."""
    digital: float | None
    """Metric of the digital network."""
    gaps: float
    """Fraction of missing cells."""
    stuck: float
    """Fraction of cells that are far from expected at all times."""
    tiles: list[dict[str, Any]]
    """Errors of each tile at the last time: cells, gaps, mean and rms weight error,
    mean and standard deviation of z-scores."""
    judgements: list[Judgement]
    verdict: str


def read_back(
    image: Image, measured: Measured, *, scope: chip.Scope | None = None
) -> list[dict[str, JArray]]:
    """The weights of a chip at each time, by path, drift-compensated.

    The first read-out is the reference of the compensation. A missing cell takes the
    value of another read at that time, or otherwise the one that the model expects.

    Args:
        image: the programmed image.
        measured: the measured conductances.
        scope: the weights that share a compensation factor; the image's by default.
    """
    scope = image.scope if scope is None else scope
    checks.word("scope", scope, chip.Scope)
    layers, every = dict(image.layers), []
    for i, t in enumerate(measured.times):
        g = {p: _filled(image, p, measured.layers[p][i], t) for p in layers}
        every.append({p: combined(g[p], layer) for p, layer in layers.items()})
    found = []
    for t, now in zip(measured.times, every, strict=True):
        alpha = compensation(every[0], now, layers, scope)
        found.append({
            p: chip.finish(layer, alpha[p] * chip.schedule(layer, t) * now[p])
            for p, layer in layers.items()
        })  # fmt: skip
    return found


def _filled(image: Image, path: str, reads: np.ndarray, t: float) -> JArray:
    """The first read-out `[*weights devices]` of a layer without gaps."""
    layer, groups = image.layers[path], image.groups.get(path, 1)
    value = reads[0]
    for other in reads[1:]:
        value = np.where(np.isnan(value), other, value)
    if np.any(np.isnan(value)):
        found, _ = expected(image.device, np.asarray(layer.targets), t)
        mean = tiles.matrices(jnp.asarray(found), layer.layout, path, groups)
        value = np.where(np.isnan(value), mean, value).astype(value.dtype)
    return tiles.restored(value, layer.shape, layer.layout, groups)


def look(
    image: Image,
    measured: Measured,
    work: Workload | None = None,
    *,
    params: PyTree | None = None,
    seed: int = 0,
) -> Found:
    """Evaluate the conductances of a chip, and the fit of the device model.

    Args:
        image: the programmed image.
        measured: the measured conductances.
        work: the network, to compute its metric on this chip.
        params: parameters of the network, those of `work` by default.
        seed: seed of the simulated chips that the model is compared on.
    """
    weights = read_back(image, measured)
    metric = digital = None
    if work is not None:
        start = work.params if params is None else params
        whole = chip.insert(
            start, {p: jnp.asarray(v) for p, v in image.digital.items()}
        )
        each = [evaluate(work, chip.insert(whole, w)) for w in weights]
        metric = tuple(float(jnp.mean(v)) for v in each)
        digital = float(jnp.mean(evaluate(work)))
    targets, reads = _cells(image, measured)
    judged = judge(
        image.device, targets, reads, measured.times,
        key=rng.stream(rng.key(seed), rng.Stage.CHIP, 0),
    )  # fmt: skip
    scores = [
        z_scores(image.device, targets, r[0], t)
        for r, t in zip(reads, measured.times, strict=True)
    ]
    far = np.all(np.abs(np.nan_to_num(scores)) > STUCK, 0)
    return Found(
        times=measured.times, metric=metric, digital=digital, gaps=measured.gaps,
        stuck=float(np.mean(far)), tiles=_tiles(image, measured, weights[-1]),
        judgements=judged, verdict=verdict(judged),
    )  # fmt: skip


def _cells(image: Image, measured: Measured) -> tuple[np.ndarray, list[np.ndarray]]:
    """Targets `[cells]`, and reads `[reads cells]` of each time, of all layers."""
    whole = {
        p: tiles.matrices(v.targets, v.layout, p, image.groups.get(p, 1))
        for p, v in image.layers.items()
    }
    targets = np.concatenate([v.ravel() for v in whole.values()])
    reads = []
    for i in range(len(measured.times)):
        parts = [measured.layers[p][i] for p in whole]
        reads.append(np.concatenate([v.reshape(len(v), -1) for v in parts], 1))
    return targets, reads


def _tiles(
    image: Image, measured: Measured, weights: Mapping[str, JArray]
) -> list[dict[str, Any]]:
    ideal, found = image.weights(), []
    off = {
        p: tiles.matrices(
            ((weights[p] - ideal[p]) / layer.w_max)[..., None],
            layer.layout, p, image.groups.get(p, 1),
        )[..., 0]
        for p, layer in image.layers.items()
    }  # fmt: skip
    for path, name, tile, targets in parts_of(image):
        place = tile.matrix, slice(*tile.rows), slice(*tile.columns)
        g, error = measured.layers[path][-1][0][place], off[path][place]
        z = z_scores(image.device, targets, g, measured.times[-1])
        found.append({
            "tile": name, "cells": g.size, "gaps": int(np.isnan(g).sum()),
            "mean_error": float(error.mean()),
            "rms_error": float(np.sqrt(np.mean(error**2))),
            "mean_z": float(np.nanmean(z)) if np.any(~np.isnan(z)) else 0.0,
            "sd_z": float(np.nanstd(z)) if np.any(~np.isnan(z)) else 0.0,
        })  # fmt: skip
    return found


# --- a second round -------------------------------------------------------------------


def second_round(image: Image, measured: Measured) -> Image:
    """New targets that correct the errors of the first read-out.

    The more significant devices are kept; the last pair of each weight is programmed
    again, so that the measured weight becomes right, as far as its range allows, as in
    strategies that fill significant pairs first. A weight with a single pair is
    programmed again with the same targets.

    Args:
        image: the programmed image.
        measured: the measured conductances.
    """
    layers = {}
    for path, layer in image.layers.items():
        g = np.asarray(
            _filled(image, path, measured.layers[path][0], measured.times[0])
        )
        layers[path] = dataclasses.replace(
            layer, targets=_corrected(np.asarray(layer.targets), g, layer, image)
        )
    title = f"{image.strategy}, next round"
    return dataclasses.replace(image, layers=layers, strategy=title)


def _corrected(
    targets: np.ndarray, g: np.ndarray, layer: chip.LayerProgram, image: Image
) -> JArray:
    c = np.asarray(layer.coefficients)
    plus, minus = _last_pair(c)
    if minus is None or len(c) <= 2:
        return jnp.asarray(targets)
    rest = [i for i in range(len(c)) if i not in (plus, minus)]
    wanted = targets @ c - g[..., rest] @ c[rest]
    low, high = float(image.device.g_min), float(image.device.g_max)
    step = wanted / c[plus]
    new = np.array(targets)
    new[..., plus] = np.clip(low + np.maximum(step, 0), low, high)
    new[..., minus] = np.clip(low + np.maximum(-step, 0), low, high)
    return jnp.asarray(new.astype(targets.dtype))


def _last_pair(c: np.ndarray) -> tuple[int, int | None]:
    """The adding and the subtracting device of least significance, the last ones."""
    least = np.flatnonzero(np.isclose(np.abs(c), np.min(np.abs(c))))
    plus, minus = least[c[least] > 0], least[c[least] < 0]
    return int(plus[-1]) if plus.size else 0, int(minus[-1]) if minus.size else None


# --- files ----------------------------------------------------------------------------


def measurements(image: Image, measured: Measured) -> bytes:
    """The cells as a table for `anajax fit-device`; the first read is `programmed`."""
    targets, reads = _cells(image, measured)
    lines, first = ["cell,target,programmed,time,read"], reads[0][0]
    for i, (t, each) in enumerate(zip(measured.times, reads, strict=True)):
        for g in each[1:] if i == 0 else each:
            for cell in np.flatnonzero(~np.isnan(g) & ~np.isnan(first)):
                head = f"{cell},{targets[cell]},{max(first[cell], 0)}"
                lines.append(f"{head},{t:.17g},{max(g[cell], 0)}")
    return ("\n".join(lines) + "\n").encode()


def write(found: Found, image: Image, measured: Measured, out: Path) -> list[Path]:
    """Write numbers, maps, a table for fits, and the image of the next round."""
    out.mkdir(parents=True, exist_ok=True)
    about = dataclasses.asdict(found)
    about["judgements"] = [
        dataclasses.asdict(j) | {"z": j.z, "fits": j.fits} for j in found.judgements
    ]
    text = json.dumps(about, indent=1)
    head = list(found.tiles[0])
    rows = [",".join(head), *(",".join(str(t[k]) for k in head) for t in found.tiles)]
    files = {
        "measured.json": f"{text}\n".encode(),
        "tiles.csv": ("\n".join(rows) + "\n").encode(),
        "measurements.csv": measurements(image, measured),
        "errors.png": render(lambda: _figure(image, measured))["png"],
    }
    for name, content in files.items():
        write_atomically(out / name, content)
    again = images.write(second_round(image, measured), out / "next")
    return [*(out / name for name in files), again]


def _figure(image: Image, measured: Measured) -> Any:
    """Maps of weight errors at the last time, of the largest layers."""
    from matplotlib.figure import Figure

    weights, ideal = read_back(image, measured)[-1], image.weights()
    chosen = sorted(image.layers, key=lambda p: -image.layers[p].targets.size)[:6]
    figure = Figure(figsize=(4 * len(chosen), 3.6), layout="constrained")
    axes = figure.subplots(1, len(chosen), squeeze=False)[0]
    for axis, path in zip(axes, chosen, strict=True):
        layer = image.layers[path]
        off = ((weights[path] - ideal[path]) / layer.w_max)[..., None]
        maps = tiles.matrices(off, layer.layout, path, image.groups.get(path, 1))
        shown = axis.imshow(
            maps[..., 0].reshape(-1, maps.shape[2]), cmap="RdBu", vmin=-0.2, vmax=0.2,
            aspect="auto", interpolation="nearest",
        )  # fmt: skip
        axis.set(title=path, xlabel="column", ylabel="row")
        figure.colorbar(shown, ax=axis, label="weight error (w_max)")
    return figure


def text(found: Found, work: Workload | None) -> str:
    """The text that the command prints."""
    gaps, stuck = 100 * found.gaps, 100 * found.stuck
    lines = [
        f"{gaps:.2g} % of the cells are missing; {stuck:.2g} % are stuck far "
        "from their targets."
    ]
    if work is not None and found.metric is not None and found.digital is not None:
        share = work.metric == "accuracy"
        for place, value in (
            (f"Digital {work.metric}", found.digital),
            *(
                (f"{work.metric} of this chip at {human(t)}", value)
                for t, value in zip(found.times, found.metric, strict=True)
            ),
        ):
            said = f"{100 * value:.2f} %" if share else f"{value:.4g}"
            lines.append(f"{place}: {said}")
    worst = max(found.tiles, key=lambda tile: tile["rms_error"])
    lines.append(f"Largest rms weight error: {worst['rms_error']:.3g} w_max in tile "
                 f"{worst['tile']}")  # fmt: skip
    return "\n".join([*lines, found.verdict])
