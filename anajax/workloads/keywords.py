"""Spoken keywords with the pretrained LSTMs of "Hello Edge" (Zhang et al., 2017)."""

import dataclasses
import zlib
from pathlib import Path

import numpy as np
from flax import nnx

from anajax.analysis.workload import Splits, Workload, workload
from anajax.workloads import sources, weights
from anajax.workloads.recurrent import KeywordNet

FOLDER = "speech_commands_test"
FEATURES = f"{FOLDER}/gsc_v2_test_logmel40.npz"
REMEDY = (
    "It holds log-mel features of the Speech Commands v0.02 test set and the ARM "
    "ML-KWS-for-MCU networks as npz files."
)
COEFFICIENTS = 10
STRIDES = {"lstm_s": 2, "lstm_l": 1}
"""Stride of each network in frames of 20 ms."""
SILENCE = 0
"""Class that is reported separately: 39 to 55 % correct, for unknown reasons (the test
clips may have louder noise than the training mixed in)."""


def port(given: dict[str, np.ndarray]) -> KeywordNet:
    """The network from TensorFlow's arrays: `kernel [in+rec 4H]`, `W_o [rec classes]`.

    TensorFlow adds 1 to the forget gate (third of four) at run time; here it is part
    of the bias.
    """
    hidden, projected = given["projection_kernel"].shape
    inputs = given["kernel"].shape[0] - projected
    forget = np.repeat(np.array([0, 0, 1, 0], np.float32), hidden)
    arrays = {
        "cell/gates/kernel": given["kernel"],
        "cell/gates/bias": given["bias"] + forget,
        "cell/projection/kernel": given["projection_kernel"],
        "cell/peep_i": given["w_i_diag"],
        "cell/peep_f": given["w_f_diag"],
        "cell/peep_o": given["w_o_diag"],
        "linear/kernel": given["W_o"],
        "linear/bias": given["b_o"],
    }
    sizes = (inputs, hidden, projected, given["b_o"].size)
    return weights.restore(lambda: KeywordNet(*sizes, rngs=nnx.Rngs(0)), arrays)


def cepstra(log_mel: np.ndarray) -> np.ndarray:
    """Ten cepstral coefficients `[... 10]` of `log_mel [... 40]` (type-2 cosines)."""
    mels = log_mel.shape[-1]
    n = np.arange(mels)[:, None] + 0.5
    basis = np.cos(np.pi / mels * n * np.arange(COEFFICIENTS)) * np.sqrt(2 / mels)
    return log_mel @ basis.astype(log_mel.dtype)


def clips(data: Path | None, *, stride: int, by_speaker: bool) -> Splits:
    """Features `[n time 10]` and classes of the official test set.

    The training part is the clips of half the speakers (by a hash of the speaker); the
    test part is those of the other half, or all 4,890 if not `by_speaker`.

    Raises:
        FileNotFoundError: if the features are in no data folder.
    """
    with np.load(sources.require(data, FEATURES, remedy=REMEDY)) as file:
        log_mel, labels, files = file["logmel"], file["label"], file["name"]
    x = cepstra(log_mel[:, ::stride].astype(np.float32))
    y = labels.astype(np.int32)
    speakers = [str(f).rpartition("/")[2].partition("_nohash_")[0] for f in files]
    train = np.array([zlib.crc32(s.encode()) % 2 == 0 for s in speakers])
    test = ~train if by_speaker else np.ones_like(train)
    return Splits(
        x=x[test],
        y=y[test],
        train_x=x[train],
        train_y=y[train],
        place=sources.place(FEATURES, data),
        split=_split(by_speaker),
    )


def load_keywords(
    network: str, *, by_speaker: bool, data: Path | None, items: int | None
) -> Workload:
    """The test set of Speech Commands v0.02 (12 classes) with one of the networks.

    Args:
        network: `"lstm_s"` (79 k parameters) or `"lstm_l"` (496 k).
        by_speaker: test on half the speakers, train and calibrate on the others;
            otherwise test on all 4,890 clips, with calibration inputs from among them.
        data: folder with the local data sets.
        items: number of test items.
    """
    given = f"{FOLDER}/{network}.npz"
    with np.load(sources.require(data, given, remedy=REMEDY)) as file:
        model = port(dict(file))
    splits = clips(data, stride=STRIDES[network], by_speaker=by_speaker)
    work = workload(
        model,
        splits,
        name=f"kws_{network}{'_speakers' if by_speaker else ''}",
        modality="speech",
        metric="accuracy",
        items=items,
        weights=f"{sources.place(given, data)}, of ARM ML-KWS-for-MCU",
    )
    work = dataclasses.replace(work, subsets={"without _silence_": work.y != SILENCE})
    if by_speaker:
        return work
    return dataclasses.replace(work, train_x=None, train_y=None)


def _split(by_speaker: bool) -> str:
    if by_speaker:
        return "official test set, halved by a hash of the speaker: test, and training"
    return "official test set, all of it; calibration inputs are from it (unlabeled)"
