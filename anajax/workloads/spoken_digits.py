"""Spoken digits of the Free Spoken Digit Dataset with a one-layer LSTM."""

from pathlib import Path

import numpy as np
from flax import nnx

from anajax.workloads import sources, weights
from anajax.workloads.base import Splits, Workload, workload
from anajax.workloads.recurrent import DigitNet

FILE = "fsdd/fsdd_8k.npz"
REMEDY = (
    "It holds the recordings of github.com/Jakobovski/free-spoken-digit-dataset as "
    "int16 `audio`, with `offset`, `label`, `speaker` and `index`."
)
SPLIT = "official: recordings 0 to 4 of each speaker and digit are the test set"
RATE, FRAME, HOP, FRAMES, MELS, HIDDEN = 8000, 256, 128, 64, 40, 96


def build(seed: int = 0) -> DigitNet:
    """The network, newly initialized."""
    return DigitNet(MELS, HIDDEN, 10, rngs=nnx.Rngs(seed))


def log_mel(audio: np.ndarray) -> np.ndarray:
    """Log-mel features `[64 40]` of a clip `audio [samples]` (int16, 8 kHz).

    Frames of 32 ms, 16 ms apart, periodic Hann window; 40 triangles equally wide in
    mel from 20 Hz to 4 kHz over the magnitudes; natural log above a floor of 1e-2,
    shifted and scaled to order one. Clips end in the last frame: shorter ones have
    silence before them, longer ones lose their beginning.
    """
    samples = HOP * (FRAMES - 1) + FRAME
    wave = np.zeros(samples, np.float32)
    tail = audio[-samples:]
    wave[samples - tail.size :] = tail / np.float32(32768)
    frames = np.lib.stride_tricks.sliding_window_view(wave, FRAME)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    magnitude = np.abs(np.fft.rfft(frames * window))
    logs = np.log(np.maximum(magnitude @ mel_triangles(), 1e-2))
    return ((logs + 1.5) / 2.5).astype(np.float32)


def mel_triangles() -> np.ndarray:
    """Weights `[129 40]` of the mel bands over the frequency bins."""
    edges = np.linspace(_mel(20.0), _mel(RATE / 2), MELS + 2)
    bins = _mel(np.arange(FRAME // 2 + 1) * RATE / FRAME)[:, None]
    up = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(up, down), 0.0)


def clips(data: Path | None) -> Splits:
    """Features `[n 64 40]` and digits of all clips, in the official split.

    Raises:
        FileNotFoundError: if the recordings are in no data folder.
    """
    path = sources.require(data, FILE, remedy=REMEDY)
    with np.load(path) as file:
        audio, ends, labels, index = (
            file[k] for k in ("audio", "offset", "label", "index")
        )
    x = np.stack([log_mel(clip) for clip in np.split(audio, ends[1:-1])])
    y, test = labels.astype(np.int32), index < 5
    return Splits(
        x=x[test],
        y=y[test],
        train_x=x[~test],
        train_y=y[~test],
        place=sources.place(FILE, data),
        split=SPLIT,
    )


def load_spoken_digits(*, data: Path | None, items: int | None) -> Workload:
    """The official test set of 300 clips (six speakers, who are in training too)."""
    arrays, notes = weights.read("fsdd_lstm")
    return workload(
        weights.restore(build, arrays),
        clips(data),
        name="fsdd_lstm",
        modality="speech",
        metric="accuracy",
        items=items,
        weights=weights.origin(notes),
    )


def _mel(hertz: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)
