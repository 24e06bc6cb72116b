import gzip

import jax.numpy as jnp
import numpy as np
import pytest
from shared import ROOT, data

from anajax import workloads
from anajax.analysis import metrics
from anajax.workloads import characters, weights


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def reference_lstm(w, name, x):
    """An LSTM layer with gates i, f, g, o from the zero state, written in NumPy."""
    hidden = w[f"{name}/dense_h/kernel"].shape[0]
    c, h, out = np.zeros((len(x), hidden)), np.zeros((len(x), hidden)), []
    for step in np.moveaxis(x, 1, 0):
        z = step @ w[f"{name}/dense_i/kernel"] + h @ w[f"{name}/dense_h/kernel"]
        i, f, g, o = np.split(z + w[f"{name}/dense_h/bias"], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out, axis=1)


def test_character_logits_equal_the_reference():
    given, _ = weights.read("tinyshakespeare_lstm")
    w = {name: value.astype(np.float64) for name, value in given.items()}
    x = np.random.default_rng(0).integers(0, 65, (3, 40))
    y = reference_lstm(w, "lstm1", w["embed/embedding"][x])
    y = reference_lstm(w, "lstm2", y)
    expected = y @ w["linear/kernel"] + w["linear/bias"]
    model = weights.restore(characters.build, given)
    np.testing.assert_allclose(model(jnp.asarray(x)), expected, atol=1e-4)


def test_held_out_text_takes_the_recorded_bits():
    data("tinyshakespeare")
    _, notes = weights.read("tinyshakespeare_lstm")
    work = workloads.load("tinyshakespeare_lstm", data=ROOT / "data")
    bits = np.asarray(workloads.evaluate(work))
    recorded = float(notes["test_bits_per_character"])
    assert len(bits) == 580
    assert bits.mean() == pytest.approx(recorded, abs=1e-3)
    assert recorded < 2.14
    assert not work.higher_is_better


def test_windows_score_each_character_at_most_once():
    x, y = characters.windows(np.arange(1000), warmup=10, scored=30)
    scored = y[y != metrics.IGNORE]
    assert np.array_equal(np.sort(scored), np.arange(11, 11 + scored.size))
    assert scored.size == 30 * len(x)
    assert np.all((y == x + 1) | (y == metrics.IGNORE))


def test_another_text_is_refused(tmp_path):
    folder = tmp_path / "tinyshakespeare"
    folder.mkdir()
    (folder / "input.txt.gz").write_bytes(gzip.compress(b"to be or not to be"))
    with pytest.raises(ValueError, match="must have 65 distinct characters: got 7"):
        characters.text(tmp_path)


def test_plain_text_is_read_as_well(tmp_path):
    folder = tmp_path / "tinyshakespeare"
    folder.mkdir()
    (folder / "input.txt").write_bytes(bytes(range(65)) * 10)
    train, test, place = characters.text(tmp_path)
    assert (train.size, test.size) == (585, 65)
    assert place.endswith("tinyshakespeare/input.txt")
