import gzip
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from shared import data

from anajax import workloads
from anajax.workloads import images, resnet, weights


def convolve(x, kernel, stride):
    """Cross-correlation of `x [n c h w]` with an OIHW kernel, one pixel around."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nchwij,ocij->nohw", patches, kernel, optimize=True)


def reference_logits(given, x):
    """The PyTorch network, written out in NumPy (channels first, double precision)."""

    def norm(x, name):
        mean, var, weight, bias = (
            given[f"{name}.{k}"].reshape(-1, 1, 1)
            for k in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * weight + bias

    x = convolve(x.transpose(0, 3, 1, 2), given["conv1.weight"], 1)
    x = np.maximum(norm(x, "bn1"), 0)
    for stage in ("layer1", "layer2", "layer3"):
        for block in sorted(
            {n.split(".")[1] for n in given if n.startswith(stage)}, key=int
        ):
            name = f"{stage}.{block}"
            kernel = given[f"{name}.conv1.weight"]
            stride = 1 if kernel.shape[0] == kernel.shape[1] else 2
            y = np.maximum(norm(convolve(x, kernel, stride), f"{name}.bn1"), 0)
            y = norm(convolve(y, given[f"{name}.conv2.weight"], 1), f"{name}.bn2")
            if stride == 2:
                each = kernel.shape[0] // 4
                x = np.pad(x[:, :, ::2, ::2], ((0, 0), (each, each), (0, 0), (0, 0)))
            x = np.maximum(x + y, 0)
    return x.mean(axis=(2, 3)) @ given["linear.weight"].T + given["linear.bias"]


@pytest.mark.parametrize("depth", [20, 32])
def test_resnet_logits_equal_the_reference(depth):
    with np.load(data(f"cifar10_resnet_weights/resnet{depth}.npz")) as file:
        given = {name: value.astype(np.float64) for name, value in file.items()}
        model = resnet.port(dict(file))
    x = np.random.default_rng(1).normal(size=(3, 32, 32, 3)).astype(np.float32)
    expected = reference_logits(given, x.astype(np.float64))
    assert len(model.blocks) == (depth - 2) // 2
    np.testing.assert_allclose(model(jnp.asarray(x)), expected, atol=1e-4)


def write_records(path, labels, pixels):
    rows = np.concatenate([labels[:, None], pixels.reshape(len(labels), -1)], axis=1)
    path.write_bytes(rows.astype(np.uint8).tobytes())


@pytest.fixture
def cifar(tmp_path):
    """A folder laid out as CIFAR-10, with random images in place of the real ones."""
    rng = np.random.default_rng(0)
    folder = tmp_path / images.CIFAR
    folder.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        pixels = rng.integers(0, 256, (4, 3, 32, 32))
        write_records(folder / f"{name}.bin", np.arange(4), pixels)
    return tmp_path, pixels


def test_cifar10_is_read_from_its_binary_files(cifar):
    folder, pixels = cifar
    splits = images.cifar10(folder)
    assert splits.train_x.shape == (20, 32, 32, 3)
    assert splits.train_y.tolist() == [0, 1, 2, 3] * 5
    np.testing.assert_array_equal(splits.x, pixels.transpose(0, 2, 3, 1))
    assert splits.y.tolist() == [0, 1, 2, 3]
    assert splits.place == "local folder (--data): cifar-10-batches-bin"


def test_cifar10_workload_scales_the_images(cifar):
    trained = data("cifar10_resnet_weights")
    folder, pixels = cifar
    (folder / "cifar10_resnet_weights").symlink_to(trained)
    work = workloads.load("cifar10_resnet20", data=folder, items=2)
    order = np.argsort(np.random.default_rng(0).random(4))[:2]
    first = pixels.transpose(0, 2, 3, 1)[order] / 255
    expected = (first - images.CIFAR_MEAN) / images.CIFAR_SD
    np.testing.assert_allclose(work.x, expected, atol=1e-5)
    assert work.apply(work.params, work.x).shape == (2, 10)
    assert "mean" not in work.params["bn1"]


def test_missing_cifar10_file_is_named(cifar):
    folder, _ = cifar
    (folder / images.CIFAR / "data_batch_3.bin").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_3.bin was not found"):
        images.cifar10(folder)


def test_cifar10_comes_from_the_extra_where_there_is_no_folder(monkeypatch, tmp_path):
    rows = {"img": [np.full((32, 32, 3), 7)] * 2, "label": [3, 4]}
    fake = types.ModuleType("datasets")
    fake.load_dataset = lambda name, split: rows
    monkeypatch.setitem(sys.modules, "datasets", fake)
    splits = images.cifar10(tmp_path)
    assert splits.x.shape == (2, 32, 32, 3) and splits.y.tolist() == [3, 4]
    assert splits.place.startswith("extra: ")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FileNotFoundError, match=r"anajax\[data\]"):
        images.cifar10(tmp_path)


def test_fashion_mnist_is_read_from_its_idx_files(tmp_path):
    folder = tmp_path / images.FASHION
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    for part in ("train", "t10k"):
        for kind, header, body in (
            ("images-idx3", 16, pixels),
            ("labels-idx1", 8, np.uint8([2, 0, 1])),
        ):
            raw = bytes(header) + body.tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(raw))
    splits = images.fashion_mnist(tmp_path)
    np.testing.assert_array_equal(splits.x[..., 0], pixels)
    assert splits.train_y.tolist() == [2, 0, 1]
    assert splits.place == "local folder (--data): fashion-mnist"


def test_missing_fashion_mnist_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(images, "FASHION_PACKAGE", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        images.fashion_mnist(tmp_path)


@pytest.mark.parametrize(("depth", "items"), [(8, 400), (32, 200)])
def test_fashion_network_is_the_one_that_was_trained(depth, items):
    if not images.FASHION_PACKAGE.is_dir():
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    _, notes = weights.read(f"fashion_resnet{depth}")
    work = workloads.load(f"fashion_resnet{depth}", items=items)
    right = np.asarray(workloads.evaluate(work))
    recorded = float(notes["test_accuracy"])
    assert work.source["data"] == "package: Debian dataset-fashion-mnist"
    error = np.sqrt(recorded * (1 - recorded) / items)
    assert abs(right.mean() - recorded) < 3 * error
    assert recorded > {8: 0.9, 32: 0.93}[depth]
