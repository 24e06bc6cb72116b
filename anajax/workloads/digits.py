"""Handwritten digits of 8x8 pixels with a small convolutional network."""

from pathlib import Path

import jax
import numpy as np
from flax import nnx

from anajax._core.types import Array
from anajax.analysis.workload import Splits, Workload, workload
from anajax.workloads import weights

TEST_ITEMS = 360
SPLIT = f"stratified by class, {TEST_ITEMS} test items, NumPy seed 0"


class DigitsNet(nnx.Module):
    """Two 3x3 convolutions (16, then 32 with stride 2) and a linear layer; ReLU."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 16, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), strides=2, rngs=rngs)
        self.linear = nnx.Linear(4 * 4 * 32, 10, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Logits `[n 10]` of images `x [n 8 8 1]` in 0..1."""
        x = jax.nn.relu(self.conv1(x))
        x = jax.nn.relu(self.conv2(x))
        return self.linear(x.reshape(x.shape[0], -1))


def digits_data() -> Splits:
    """The images, split into training and test.

    The 1,797 images of scikit-learn's `load_digits` (UCI, 43 writers), scaled to 0..1
    and shaped `[n 8 8 1]`: 1,437 for training, 360 for testing. The test set is a
    random fifth of each class; writers are in both parts.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Workload `digits` takes its images from scikit-learn, which is not "
            "installed. Install it: pip install 'anajax[quickstart]'."
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    x = np.asarray(pixels, np.float32).reshape(-1, 8, 8, 1) / np.float32(16)
    y = np.asarray(labels, np.int32)
    test = _stratified(y, TEST_ITEMS)
    train = np.setdiff1d(np.arange(y.size), test)
    return Splits(
        x=x[test],
        y=y[test],
        train_x=x[train],
        train_y=y[train],
        place="package: scikit-learn, load_digits",
        split=SPLIT,
    )


def load_digits_net(*, data: Path | None, items: int | None) -> Workload:
    """The quickstart workload; scikit-learn has the images, so `data` is not needed."""
    arrays, notes = weights.read("digits")
    return workload(
        weights.restore(lambda: DigitsNet(rngs=nnx.Rngs(0)), arrays),
        digits_data(),
        name="digits",
        modality="image",
        metric="accuracy",
        items=items,
        weights=weights.origin(notes),
        batch=360,
    )


def _stratified(y: np.ndarray, count: int) -> np.ndarray:
    """Sorted indices of `count` items, each class in its share (largest remainder)."""
    classes, sizes = np.unique(y, return_counts=True)
    share = sizes * count / y.size
    take = np.floor(share).astype(int)
    take[np.argsort(take - share, kind="stable")[: count - take.sum()]] += 1
    order = np.argsort(np.random.default_rng(0).random(y.size), kind="stable")
    picked = [order[y[order] == c][:k] for c, k in zip(classes, take, strict=True)]
    return np.sort(np.concatenate(picked))
