"""A tiny Llama network on the characters of Shakespeare, trained for anajax.

The code of the large networks, run in seconds: blocks, tied head, grouped heads.
"""

from pathlib import Path

import jax
import jax.numpy as jnp

from anajax._core import checks
from anajax.analysis.metrics import METRICS, cross_entropy
from anajax.analysis.workload import Workload, shuffled
from anajax.chip import path_name
from anajax.workloads import characters, weights
from anajax.workloads.language.llama import Llama, Params

NAME = "tinyshakespeare_llama"
NET = Llama(
    layers=3, width=64, inner=160, heads=4, kv_heads=2, vocabulary=characters.SYMBOLS
)
DIGITAL = "embed"


def load_verses(*, data: Path | None, items: int | None) -> Workload:
    """Tiny Shakespeare: an item is a window of text; loss in nats per character."""
    arrays, notes = weights.read(NAME)
    splits = characters.splits(data)
    keep = shuffled(len(splits.x), items)
    some = shuffled(len(splits.train_x), None)[:64]
    return Workload(
        name=NAME,
        modality="text",
        params=params_of(arrays),
        apply=NET.logits,
        digital=DIGITAL,
        x=jnp.asarray(splits.x[keep]),
        y=jnp.asarray(splits.y[keep]),
        calibration=jnp.asarray(splits.train_x[some]),
        loss_fn=cross_entropy,
        **METRICS["log_perplexity"].fields,
        source={
            "data": splits.place,
            "split": splits.split,
            "weights": weights.origin(notes),
        },
        train_x=splits.train_x,
        train_y=splits.train_y,
        batch=64,
    )


def params_of(arrays: dict) -> Params:
    """Parameters of `NET` from arrays by path.

    Raises:
        ValueError: if an array is missing or of another shape.
    """

    def one(path: tuple, want: jax.ShapeDtypeStruct) -> jax.Array:
        found = arrays.get(path_name(path))
        if found is None or found.shape != want.shape:
            got = "nothing" if found is None else str(found.shape)
            rule = f"hold {path_name(path)} {want.shape}"
            checks.fail("arrays", rule, got, "Train it again.")
        return jnp.asarray(found)

    return jax.tree_util.tree_map_with_path(one, NET.shapes())
