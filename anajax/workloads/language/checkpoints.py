"""Networks of the Llama family from files: GGUF, or safetensors with a config.json."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax.interop import gguf_file, reading
from anajax.workloads.language.llama import Llama, Params

_GGUF = {
    "norm1": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v",
    "o": "attn_output", "norm2": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up",
    "down": "ffn_down",
}  # fmt: skip
_HF = {
    "norm1": "input_layernorm", "q": "self_attn.q_proj", "k": "self_attn.k_proj",
    "v": "self_attn.v_proj", "o": "self_attn.o_proj",
    "norm2": "post_attention_layernorm", "gate": "mlp.gate_proj",
    "up": "mlp.up_proj", "down": "mlp.down_proj",
}  # fmt: skip
_ENDS = {
    "gguf": ("token_embd.weight", "output_norm.weight", "output.weight"),
    "hf": ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"),
}


def load_llama(path: str | Path) -> tuple[Llama, Params]:
    """The network in a file, with its weights as float32.

    Args:
        path: a GGUF file, or a folder with `config.json` and safetensors in the format
            of Hugging Face. Query and key columns are reordered to the neighboring
            pairs that `Llama` rotates.

    Raises:
        ValueError: if it is not a network of this family, or an array is missing, has
            another shape, or is unexpected.
        FileNotFoundError: if the folder has no `config.json`.
    """
    path = Path(path)
    if path.suffix == ".gguf":
        net, arrays = gguf_config(gguf_file.metadata(path)), reading.read(path)
        net = dataclasses.replace(net, tied=_ENDS["gguf"][2] not in arrays)
        return net, _params(net, arrays, "gguf")
    net = hf_config(json.loads((path / "config.json").read_text()))
    return net, _params(net, reading.read(path), "hf")


def gguf_config(metadata: Mapping[str, Any]) -> Llama:
    """The sizes of a network from the metadata of its GGUF file.

    Raises:
        ValueError: if it is another kind of network, or a size is missing.
    """
    _check_family(metadata.get("general.architecture"))

    def own(key: str, default: Any = None) -> Any:
        return _entry(metadata, f"llama.{key}", default)

    heads = own("attention.head_count")
    return Llama(
        layers=own("block_count"),
        width=own("embedding_length"),
        inner=own("feed_forward_length"),
        heads=heads,
        kv_heads=own("attention.head_count_kv", heads),
        vocabulary=len(_entry(metadata, "tokenizer.ggml.tokens")),
        head_width=own("rope.dimension_count", 0),
        theta=own("rope.freq_base", 10_000.0),
        eps=float(np.float32(own("attention.layer_norm_rms_epsilon"))),
    )


def hf_config(config: Mapping[str, Any]) -> Llama:
    """The sizes of a network from the `config.json` of Hugging Face.

    Raises:
        ValueError: if it is another kind of network, or a size is missing.
    """
    _check_family(config.get("model_type"))
    if config.get("rope_scaling") is not None:
        rule, got = "have no `rope_scaling`", config["rope_scaling"]
        checks.fail("config.json", rule, f"{got!r:.60}", "Take another network.")
    heads = _entry(config, "num_attention_heads")
    return Llama(
        layers=_entry(config, "num_hidden_layers"),
        width=_entry(config, "hidden_size"),
        inner=_entry(config, "intermediate_size"),
        heads=heads,
        kv_heads=_entry(config, "num_key_value_heads", heads),
        vocabulary=_entry(config, "vocab_size"),
        head_width=config.get("head_dim") or 0,
        theta=_entry(config, "rope_theta", 10_000.0),
        eps=_entry(config, "rms_norm_eps"),
        tied=_entry(config, "tie_word_embeddings", False),
    )


def _check_family(found: Any) -> None:
    if found != "llama":
        rule, remedy = "hold a network of the kind 'llama'", "Take another one."
        checks.fail("path", rule, repr(found), remedy)


def _entry(given: Mapping[str, Any], key: str, default: Any = None) -> Any:
    value = given.get(key, default)
    if value is None:
        checks.fail("path", f"say {key!r}", "nothing", "Take a whole file.")
    return value


def _params(net: Llama, arrays: Mapping[str, np.ndarray], kind: str) -> Params:
    arrays = {k: v for k, v in arrays.items() if "rotary" not in k and "rope" not in k}
    names, ends = (_GGUF, _ENDS["gguf"]) if kind == "gguf" else (_HF, _ENDS["hf"])
    prefix = "blk" if kind == "gguf" else "model.layers"
    given = {
        "embed": arrays.get(ends[0]),
        "norm": arrays.get(ends[1]),
        "blocks": [
            {k: arrays.get(f"{prefix}.{i}.{n}.weight") for k, n in names.items()}
            for i in range(net.layers)
        ],
    }
    if not net.tied:
        given["head"] = arrays.get(ends[2])
    turn = {"q": net.heads, "k": net.kv_heads} if kind == "hf" else {}

    def one(path: tuple, want: jax.ShapeDtypeStruct, w: np.ndarray | None) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        leaf = name.rpartition("/")[2]
        if w is not None and leaf not in ("embed",) and w.ndim == 2:
            w = (_neighbors(w, turn[leaf]) if leaf in turn else w).T
        if w is None or w.shape != want.shape:
            got = "nothing" if w is None else str(w.shape)
            checks.fail("path", f"hold {name} {want.shape}", got, "Take a whole file.")
        return jnp.asarray(w, jnp.float32)

    none = {"is_leaf": lambda v: isinstance(v, jax.ShapeDtypeStruct)}
    return jax.tree_util.tree_map_with_path(one, net.shapes(), given, **none)


def _neighbors(w: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from two halves to neighboring pairs."""
    halves = w.reshape(heads, 2, -1, w.shape[1])
    return halves.swapaxes(1, 2).reshape(w.shape)
