"""A chip image as a folder: a manifest and array files."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.disk import write_atomically, writing
from anajax.chip import LayerProgram
from anajax.crossbar.tiling import TileRule
from anajax.devices.files import load_device, save_device
from anajax.interop.buffers import damaged, inside
from anajax.interop.image import tiles
from anajax.interop.image.image import NUMBERS, Image, Product
from anajax.interop.image.schema import check
from anajax.interop.image.storage import Storage, pack, parse, unpack

MANIFEST, DEVICE = "manifest.json", "device.json"
FORMAT, VERSION = "anajax-chip-image", 1


def write(image: Image, folder: str | Path, storage: Storage = "safetensors") -> Path:
    """Write an image into an empty folder.

    Args:
        image: an `Image`, new or read.
        folder: folder of the image.
        storage: "safetensors", "hdf5", or "csv" (one text file per array).

    Returns:
        The path of the manifest.

    Raises:
        ValueError: if the folder is not empty, or a layer cannot be written.
        WriteError: an OSError, if a file cannot be written.
    """
    checks.word("storage", storage, Storage)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        checks.fail("out", "be an empty folder", str(folder), "Name another.")
    arrays, layers = _layers(image)
    products = [_product(product, arrays) for product in image.periphery]
    for path, value in image.digital.items():
        arrays[f"digital:{path}"] = np.asarray(value), "1"
    packed = pack({name: v for name, (v, _) in arrays.items()}, storage)
    with writing(folder):
        for name, content in packed["files"].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, content)
    save_device(image.device, folder / DEVICE)
    files = {name: _digest(folder / name) for name in (*packed["files"], DEVICE)}
    manifest = {
        "format": FORMAT, "version": VERSION, "network": image.network,
        "strategy": image.strategy, "seed": image.seed, "device": _device(image),
        "tile": {"rows": image.tiles.rows, "columns": image.tiles.columns},
        "compensation": {"scope": image.scope}, "layers": layers,
        "periphery": products, "digital": list(image.digital), "storage": storage,
        "arrays": {n: _entry(v, unit, packed["places"][n])
                   for n, (v, unit) in arrays.items()},
        "files": files, "versions": dict(image.versions),
    }  # fmt: skip
    check(manifest)
    text = json.dumps(manifest, indent=1, allow_nan=False)
    write_atomically(folder / MANIFEST, f"{text}\n".encode())
    return folder / MANIFEST


def _entry(array: np.ndarray, unit: str, file: str) -> dict[str, Any]:
    about = {"shape": list(array.shape), "dtype": array.dtype.name}
    return about | {"unit": unit, "file": file}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _device(image: Image) -> dict[str, Any]:
    device = image.device
    ends = [float(device.g_min), float(device.g_max)]
    about = {"name": device.name, "source": device.source, "range": ends}
    return about | {"unit": "uS", "file": DEVICE}


def _layers(image: Image) -> tuple[dict[str, tuple[np.ndarray, str]], list[Any]]:
    """Arrays with units by name, and what the manifest says of layers."""
    arrays: dict[str, tuple[np.ndarray, str]] = {}
    entries = []
    for path, layer in image.layers.items():
        if type(layer) is not LayerProgram:
            rule, got = "be programmed by targets alone", f"{path!r} by a loop"
            checks.fail("layers", rule, got, "A loop measures while it programs.")
        groups = image.groups.get(path, 1)
        parts = []
        whole = tiles.matrices(layer.targets, layer.layout, path, groups)
        for tile, part in tiles.cut(whole, image.tiles):
            arrays[tile.name(path)] = part, "uS"
            ends = {"rows": list(tile.rows), "columns": list(tile.columns)}
            parts.append({"array": tile.name(path), "matrix": tile.matrix} | ends)
        for name, unit in NUMBERS.items():
            arrays[f"{path}:{name}"] = np.asarray(getattr(layer, name)), unit
        arrays[f"{path}:reference"] = np.asarray(image.reference(path)), "1"
        entries.append({
            "path": path, "shape": list(layer.shape), "axes": _axes(layer, path),
            "groups": groups, "devices": _devices(layer),
            "arrays": {n: f"{path}:{n}" for n in (*NUMBERS, "reference")},
            "tiles": parts,
        })  # fmt: skip
    return arrays, entries


def _axes(layer: LayerProgram, path: str) -> dict[str, Any]:
    axes = dataclasses.asdict(layer.layout.on(len(layer.shape), path))
    return {n: list(v) if isinstance(v, tuple) else v for n, v in axes.items()}


def _devices(layer: LayerProgram) -> list[dict[str, Any]]:
    c = np.asarray(layer.coefficients, float)
    largest = float(np.max(np.abs(c))) or 1.0
    return [
        {"polarity": -1 if v < 0 else 1, "significance": abs(float(v)) / largest}
        for v in c
    ]


def _product(product: Product, arrays: dict[str, Any]) -> dict[str, Any]:
    names = {}
    for kind, value in product.arrays.items():
        names[kind] = f"{product.name}:periphery:{kind}"
        arrays[names[kind]] = np.asarray(value), "1"
    about = {"product": product.name, "weights": list(product.weights)}
    bits = {"dac": product.dac_bits, "adc": product.adc_bits}
    return about | {"bits": bits, "arrays": names}


# --- back -----------------------------------------------------------------------------


def read(path: str | Path) -> Image:
    """The image in a folder; every file is checked by its digest.

    Args:
        path: the folder, or its manifest.

    Raises:
        ValueError: if something is damaged, changed, missing, in other units, or
            outside the range of the device, or tiles do not cover a layer.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    file = folder / MANIFEST
    if not file.is_file():
        remedy = "Name the folder of an image that `anajax export` wrote."
        checks.fail(
            "--image", f"hold an image, {MANIFEST}", f"none in {folder}", remedy
        )
    manifest = parse(file)
    check(manifest)
    arrays = unpack(folder, manifest)
    if manifest["device"]["file"] not in manifest["files"]:
        damaged(file, "a device file without a digest")
    device = load_device(inside(folder, manifest["device"]["file"], file))
    layers, groups = {}, {}
    for entry in manifest["layers"]:
        name = entry["path"]
        if name in layers:
            damaged(file, f"layer {name!r:.60} twice")
        layers[name] = _layer(entry, arrays, manifest, device)
        groups[name] = entry["groups"]
    return Image(
        layers=layers, device=device,
        digital={n: _array(arrays, f"digital:{n}") for n in manifest["digital"]},
        network=manifest["network"], strategy=manifest["strategy"],
        seed=manifest["seed"], tiles=TileRule(**manifest["tile"]), groups=groups,
        periphery=tuple(_read_product(e, arrays) for e in manifest["periphery"]),
        scope=manifest["compensation"]["scope"], versions=manifest["versions"],
    )  # fmt: skip


def _layer(
    entry: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    manifest: Mapping[str, Any],
    device: Any,
) -> LayerProgram:
    path, about = entry["path"], manifest["arrays"]
    units = {tile["array"]: "uS" for tile in entry["tiles"]}
    units |= {entry["arrays"][name]: unit for name, unit in NUMBERS.items()}
    for name, unit in units.items():
        found = about.get(name, {}).get("unit", "nothing")
        if found != unit:
            rule, remedy = f"be in {unit} for {name!r:.80}", "Convert it."
            checks.fail("unit", rule, found, remedy)
    size = tuple(entry["shape"])
    numbers = {n: _array(arrays, entry["arrays"][n]) for n in NUMBERS}
    _check_numbers(path, numbers, size, len(entry["devices"]))
    whole = tiles.joined(entry, arrays, len(entry["devices"]))
    low, high = float(device.g_min), float(device.g_max)
    room = 1e-4 * (high - low)
    if not np.all((whole >= low - room) & (whole <= high + room)):
        got = f"{np.min(whole):g} to {np.max(whole):g} uS in {path!r:.80}"
        rule = f"be within the range of {device.name}, {low:g} to {high:g} uS"
        checks.fail("targets", rule, got, "They are in other units, or damaged.")
    layout = tiles.layout_of(entry)
    targets = tiles.restored(whole, size, layout, entry["groups"])
    fields = {name: jnp.asarray(v) for name, v in numbers.items()}
    return LayerProgram(targets=targets, layout=layout, **fields)


def _check_numbers(
    path: str, numbers: Mapping[str, np.ndarray], size: tuple[int, ...], devices: int
) -> None:
    """Refuse numbers of a layer that do not fit its weights."""
    for name, array in numbers.items():
        axes = {"coefficients": 1, "offset": 0, "t0": 0}.get(name)
        fits = array.ndim == axes
        if axes is None:
            sides = zip(reversed(array.shape), reversed(size), strict=False)
            fits = array.ndim <= len(size) and all(a in (1, n) for a, n in sides)
        if name == "coefficients":
            fits = array.shape == (devices,) and devices > 0
        if not fits or array.dtype.kind != "f" or not np.all(np.isfinite(array)):
            got = f"{name} of {array.dtype}{list(array.shape)} for {path!r:.60}"
            damaged(Path(MANIFEST), got)


def _array(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        damaged(Path(MANIFEST), f"no array {name!r:.80}")
    return arrays[name]


def _read_product(
    entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> Product:
    return Product(
        name=entry["product"],
        weights=tuple(entry["weights"]),
        dac_bits=entry["bits"]["dac"],
        adc_bits=entry["bits"]["adc"],
        arrays={kind: _array(arrays, str(n)) for kind, n in entry["arrays"].items()},
    )
