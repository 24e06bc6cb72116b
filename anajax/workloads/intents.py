"""Banking intents (BANKING77) with MiniLM-L6 and a trained linear layer."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
from flax import nnx

from anajax._core.types import Array
from anajax.analysis.workload import Splits, Workload, workload
from anajax.workloads import minilm, sources, weights

FOLDER = "banking77"
REMEDY = "It holds train.csv and test.csv (text,category) of PolyAI's BANKING77."
SPLIT = "official: 10,003 sentences to train on, 3,080 to test on"
CLASSES = 77
LONGEST = 128
"""Most tokens; no sentence of BANKING77 is longer."""


def tokenize(sentences: list[str], tokenizer: Path) -> np.ndarray:
    """Tokens `[n time]`, padded with 0 to the length `time` of the longest sentence.

    Raises:
        ModuleNotFoundError: if the tokenizers package is not installed.
    """
    try:
        from tokenizers import Tokenizer  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Workload `banking77_minilm` needs the package tokenizers, which is not "
            "installed. Install it: pip install 'anajax[data]'."
        ) from error
    model = Tokenizer.from_file(str(tokenizer))
    model.no_padding()
    model.enable_truncation(LONGEST)
    ids = [entry.ids for entry in model.encode_batch(sentences)]
    tokens = np.full((len(ids), max(map(len, ids))), minilm.PAD, np.int32)
    for row, values in zip(tokens, ids, strict=True):
        row[: len(values)] = values
    return tokens


def trimmed(tokens: Array) -> Array:
    """Tokens `[n time]` without the columns that are padding in every sentence."""
    return tokens[:, : int((np.asarray(tokens) != minilm.PAD).sum(axis=1).max())]


def sentences(data: Path | None, part: str) -> tuple[list[str], list[str]]:
    """Sentences and names of intents of `part` ("train" or "test").

    Raises:
        FileNotFoundError: if they are in no data folder.
    """
    path = sources.require(data, f"{FOLDER}/{part}.csv", remedy=REMEDY)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["category"] for row in rows]


def splits(data: Path | None, tokenizer: Path) -> Splits:
    """Tokens and intents (by name, in alphabetical order) of both parts."""
    train_text, train_names = sentences(data, "train")
    test_text, test_names = sentences(data, "test")
    index = {name: i for i, name in enumerate(sorted(set(train_names)))}
    return Splits(
        x=tokenize(test_text, tokenizer),
        y=np.array([index[name] for name in test_names], np.int32),
        train_x=tokenize(train_text, tokenizer),
        train_y=np.array([index[name] for name in train_names], np.int32),
        place=sources.place(FOLDER, data),
        split=SPLIT,
    )


def load_intents(*, data: Path | None, items: int | None) -> Workload:
    """BANKING77 with a frozen MiniLM-L6 and a linear layer on its embeddings.

    Tokens are padded to the longest of the selected test items, so fewer items may also
    be shorter.
    """
    folder, place = minilm.files(data)
    head, notes = weights.read("banking77_head")
    body = minilm.encoder_weights(folder / "model.safetensors")
    arrays = head | {f"encoder/{name}": value for name, value in body.items()}
    parts = splits(data, folder / "tokenizer.json")
    work = workload(
        weights.restore(
            lambda: minilm.SentenceClassifier(CLASSES, rngs=nnx.Rngs(0)), arrays
        ),
        parts,
        name="banking77_minilm",
        modality="text",
        metric="accuracy",
        items=items,
        weights=f"encoder: {place}; linear layer: {weights.origin(notes)}",
        calibration=64,
        batch=64,
    )
    x, calibration = trimmed(work.x), trimmed(work.calibration)
    return dataclasses.replace(work, x=x, calibration=calibration)
