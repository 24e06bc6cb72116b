"""Spoken digits of the Free Spoken Digit Dataset with a one-layer LSTM."""

import wave
from pathlib import Path

import numpy as np
from flax import nnx

from anajax.analysis.workload import Splits, Workload, workload
from anajax.workloads import sources, weights
from anajax.workloads.recurrent import DigitNet

FILE = "fsdd/fsdd_8k.npz"
RECORDINGS = "fsdd/recordings"
TEST_TAKES = 5
REMEDY = (
    "It holds the recordings of the Free Spoken Digit Dataset: its folder recordings "
    "with 3,000 wav files, or those end to end as int16 `audio` with `offset`, `label` "
    "and `index` in fsdd_8k.npz."
)
SPLIT = "official: recordings 0 to 4 of each speaker and digit are the test set"
RATE, FRAME, HOP, FRAMES, MELS, HIDDEN = 8000, 256, 128, 64, 40, 96


def build(seed: int = 0) -> DigitNet:
    """The network, newly initialized."""
    return DigitNet(MELS, HIDDEN, 10, rngs=nnx.Rngs(seed))


def log_mel(audio: np.ndarray) -> np.ndarray:
    """Log-mel features `[64 40]` of a clip `audio [samples]` (int16, 8 kHz).

    Frames of 32 ms, 16 ms apart, periodic Hann window; 40 triangles equally wide in mel
    from 20 Hz to 4 kHz over the magnitudes; natural log above a floor of 1e-2, shifted
    and scaled to order one. Clips are aligned to the last frame: shorter ones start
    with silence, longer ones lose their beginning.
    """
    samples = HOP * (FRAMES - 1) + FRAME
    signal = np.zeros(samples, np.float32)
    tail = audio[-samples:]
    signal[samples - tail.size :] = tail / np.float32(32768)
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    magnitude = np.abs(np.fft.rfft(frames * window))
    logs = np.log(np.maximum(magnitude @ mel_triangles(), 1e-2))
    return ((logs + 1.5) / 2.5).astype(np.float32)


def mel_triangles() -> np.ndarray:
    """Weights `[129 40]` of the mel bands over the frequency bins."""
    low, high = _mel(np.array([20.0, RATE / 2]))
    edges = np.linspace(low, high, MELS + 2)
    bins = _mel(np.arange(FRAME // 2 + 1) * RATE / FRAME)[:, None]
    up = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(up, down), 0.0)


def clips(data: Path | None) -> Splits:
    """Features `[n 64 40]` and digits of all clips, in the official split.

    Raises:
        FileNotFoundError: if the recordings are in no data folder.
    """
    folder = sources.local(data, RECORDINGS)
    if folder is not None:
        place, (audio, y, index) = RECORDINGS, _waves(folder)
    else:
        place, (audio, y, index) = FILE, _arrays(data)
    x, test = np.stack([log_mel(clip) for clip in audio]), index < TEST_TAKES
    return Splits(
        x=x[test],
        y=y[test],
        train_x=x[~test],
        train_y=y[~test],
        place=sources.place(place, data),
        split=SPLIT,
    )


def load_spoken_digits(*, data: Path | None, items: int | None) -> Workload:
    """The official test set of 300 clips (six speakers, who are also in training)."""
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


def _mel(hertz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(hertz / 700.0)


def _arrays(data: Path | None) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Clips, digits and takes from the file with all recordings end to end."""
    with np.load(sources.require(data, FILE, remedy=REMEDY)) as file:
        clips = np.split(file["audio"], file["offset"][1:-1])
        return clips, file["label"].astype(np.int32), file["index"]


def _waves(folder: Path) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Clips, digits and takes from files named `digit_speaker_take.wav`."""
    paths = sorted(folder.glob("*_*_*.wav"))
    if not paths:
        sources.missing(f"{RECORDINGS}/*.wav", REMEDY)
    names = [path.stem.split("_") for path in paths]
    digits = np.array([int(name[0]) for name in names], np.int32)
    return [_wave(p) for p in paths], digits, np.array([int(n[2]) for n in names])


def _wave(path: Path) -> np.ndarray:
    with wave.open(str(path), "rb") as file:
        form = file.getnchannels(), file.getsampwidth(), file.getframerate()
        if form != (1, 2, RATE):
            raise ValueError(
                f"{path.name} must be mono, 16 bit, {RATE} Hz: got channels, bytes and "
                f"rate {form}. Convert it."
            )
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")
