"""Tiny Shakespeare with a two-layer LSTM that predicts the next character."""

import gzip
from pathlib import Path

import numpy as np
from flax import nnx

from anajax.analysis.metrics import IGNORE
from anajax.analysis.workload import Splits, Workload, workload
from anajax.workloads import sources, weights
from anajax.workloads.recurrent import CharacterNet

WARMUP, SCORED = 64, 192
LEARNED = 80
"""Characters per window of the training text."""
SPLIT = (
    f"last tenth of the text held out; windows of {WARMUP + SCORED} characters from "
    f"the zero state, the last {SCORED} scored"
)
SYMBOLS, WIDTH, HIDDEN = 65, 64, 128
SOURCE = "The text is input.txt(.gz) of the char-rnn collection, 1,115,394 characters."


def build(seed: int = 0) -> CharacterNet:
    """The network, newly initialized."""
    return CharacterNet(SYMBOLS, WIDTH, HIDDEN, rngs=nnx.Rngs(seed))


def text(data: Path | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Training text, held-out text (indices into the sorted characters), and place.

    Raises:
        FileNotFoundError: if the text is in no data folder.
        ValueError: if the text is a different one.
    """
    path = sources.local(data, "tinyshakespeare/input.txt")
    path = path or sources.require(data, "tinyshakespeare/input.txt.gz", remedy=SOURCE)
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else None
    codes = np.frombuffer(path.read_bytes() if raw is None else raw, np.uint8)
    symbols, indices = np.unique(codes, return_inverse=True)
    if symbols.size != SYMBOLS:
        raise ValueError(
            f"{path.name} must have {SYMBOLS} distinct characters: got {symbols.size}. "
            f"{SOURCE}"
        )
    indices = indices.astype(np.int32)
    cut = indices.size * 9 // 10
    return (
        indices[:cut],
        indices[cut:],
        sources.place(f"tinyshakespeare/{path.name}", data),
    )


def windows(
    indices: np.ndarray, *, warmup: int = WARMUP, scored: int = SCORED
) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping windows `x [n time]` and next characters `y [n time]`.

    Each character is scored in at most one window, after at least `warmup` others; the
    labels of the warm-up are `IGNORE`.
    """
    time = warmup + scored
    starts = np.arange(0, indices.size - time, scored)[:, None]
    x = indices[starts + np.arange(time)]
    y = indices[starts + 1 + np.arange(time)].copy()
    y[:, :warmup] = IGNORE
    return x, y


def load_characters(*, data: Path | None, items: int | None) -> Workload:
    """Tiny Shakespeare: an item is a window of text, the metric bits per character."""
    arrays, notes = weights.read("tinyshakespeare_lstm")
    return workload(
        weights.restore(build, arrays),
        splits(data),
        name="tinyshakespeare_lstm",
        modality="text",
        metric="bits_per_character",
        items=items,
        weights=weights.origin(notes),
        calibration=256,
        batch=64,
    )


def splits(data: Path | None) -> Splits:
    """Windows of the held-out text, and short, fully scored training windows."""
    train, test, place = text(data)
    train_x, train_y = windows(train, warmup=0, scored=LEARNED)
    x, y = windows(test)
    return Splits(x=x, y=y, train_x=train_x, train_y=train_y, place=place, split=SPLIT)
