import wave

import numpy as np
import pytest
from shared import ROOT, data

from anajax import workloads
from anajax.workloads import keywords, spoken_digits, weights


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def reference_logits(given, x):
    """TensorFlow's LSTMCell with peepholes and projection, written out in NumPy."""
    g = {name: value.astype(np.float64) for name, value in given.items()}
    c, h = np.zeros((len(x), g["w_f_diag"].size)), np.zeros((len(x), g["W_o"].shape[0]))
    for frame in np.moveaxis(x.astype(np.float64), 1, 0):
        z = np.concatenate([frame, h], axis=1) @ g["kernel"] + g["bias"]
        i, j, f, o = np.split(z, 4, axis=1)
        forget = sigmoid(f + 1 + g["w_f_diag"] * c)
        c = forget * c + sigmoid(i + g["w_i_diag"] * c) * np.tanh(j)
        h = sigmoid(o + g["w_o_diag"] * c) * np.tanh(c) @ g["projection_kernel"]
    return h @ g["W_o"] + g["b_o"]


@pytest.mark.parametrize("network", ["lstm_s", "lstm_l"])
def test_keyword_logits_equal_the_reference(network):
    path = data(f"speech_commands_test/{network}.npz")
    work = workloads.load(f"kws_{network}", data=ROOT / "data", items=40)
    with np.load(path) as file:
        expected = reference_logits(dict(file), np.asarray(work.x))
    np.testing.assert_allclose(work.apply(work.params, work.x), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "all_classes", "without_silence"),
    [
        ("lstm_s", 86.1, 90.0),
        ("lstm_l", 88.9, 91.9),
    ],
)
def test_keyword_accuracy_is_the_one_measured_elsewhere(
    network, all_classes, without_silence
):
    data("speech_commands_test")
    work = workloads.load(f"kws_{network}", data=ROOT / "data")
    right = np.asarray(workloads.evaluate(work))
    kept = np.asarray(work.subsets["without _silence_"])
    assert len(right) == 4890
    assert round(100 * right.mean(), 1) == all_classes
    assert round(100 * right[kept].mean(), 1) == without_silence


def test_speakers_are_in_one_half_only():
    path = data("speech_commands_test") / "gsc_v2_test_logmel40.npz"
    halves = keywords.clips(ROOT / "data", stride=2, by_speaker=True)
    with np.load(path) as file:
        names, log_mel = file["name"], file["logmel"]
    speaker = [n.split("/")[1].split("_nohash_")[0] for n in names]
    clip = {
        keywords.cepstra(m[::2].astype(np.float32)).tobytes(): s
        for m, s in zip(log_mel, speaker, strict=True)
    }
    test = {clip[x.tobytes()] for x in halves.x}
    train = {clip[x.tobytes()] for x in halves.train_x}
    assert len(test) > 400 and len(train) > 400
    assert not test & train
    assert len(halves.x) + len(halves.train_x) == 4890


def test_missing_data_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.delenv("ANAJAX_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"--data DIR or ANAJAX_DATA=DIR"):
        workloads.load("kws_lstm_s")
    with pytest.raises(FileNotFoundError, match=r"fsdd/fsdd_8k.npz was not found"):
        workloads.load("fsdd_lstm", data=tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        workloads.load("fsdd_lstm", data=tmp_path / "nowhere")


def test_folder_of_the_environment_is_found(monkeypatch):
    data("speech_commands_test")
    monkeypatch.setenv("ANAJAX_DATA", str(ROOT / "data"))
    work = workloads.load("kws_lstm_s", items=3)
    assert work.source["data"].startswith("local folder (ANAJAX_DATA): ")


def test_cepstra_are_orthonormal_cosines():
    basis = keywords.cepstra(np.eye(40))
    norms = np.full(10, 1.0)
    norms[0] = 2.0
    np.testing.assert_allclose(basis.T @ basis, np.diag(norms), atol=1e-12)


def test_spoken_digits_accuracy_is_the_trained_one():
    data("fsdd")
    work = workloads.load("fsdd_lstm", data=ROOT / "data")
    _, notes = weights.read("fsdd_lstm")
    accuracy = float(workloads.evaluate(work).mean())
    assert work.x.shape == (300, 64, 40)
    assert work.train_x is not None and work.train_x.shape == (2700, 64, 40)
    assert accuracy == pytest.approx(float(notes["test_accuracy"]), abs=1e-4)
    assert accuracy > 0.98


def write_wave(path, samples, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def test_spoken_digits_are_read_from_wave_files(tmp_path):
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    samples = np.random.default_rng(0).integers(-9999, 9999, 2000)
    for name in ("3_ann_4", "3_ann_5", "7_bob_12"):
        write_wave(folder / f"{name}.wav", samples)
    splits = spoken_digits.clips(tmp_path)
    assert (splits.y.tolist(), splits.train_y.tolist()) == ([3], [3, 7])
    np.testing.assert_array_equal(splits.x[0], spoken_digits.log_mel(samples))
    assert splits.place.endswith("fsdd/recordings")
    write_wave(folder / "1_eve_1.wav", samples, rate=16000)
    with pytest.raises(ValueError, match="1_eve_1.wav must be mono, 16 bit, 8000 Hz"):
        spoken_digits.clips(tmp_path)


def test_log_mel_of_a_tone_peaks_in_its_band():
    tone = 8000 * np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)
    features = spoken_digits.log_mel(tone.astype(np.int16))
    low, tone_mel, high = spoken_digits._mel(np.array([20.0, 1000.0, 4000.0]))
    band = np.argmin(np.abs(np.linspace(low, high, 42)[1:-1] - tone_mel))
    assert features.shape == (64, 40)
    assert np.all(np.argmax(features[40:], axis=1) == band)
    assert np.ptp(features[:20]) == 0  # silence before the clip
