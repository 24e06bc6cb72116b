"""A study small enough for tests: one linear layer, two strategies, two times."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from anajax.analysis.workload import Splits, workload
from anajax.studies import run
from anajax.studies.load import validate
from anajax.studies.ways import judge

CONFIG = {
    "study": "strategies",
    "workload": {"name": "digits"},
    "device": {"name": "state_independent"},
    "times": ["1 s", "1 month"],
    "chips": 3,
    "strategies": ["single_pair", "lsp_first", "optimized"],
    "optimizer": {"starts": 1, "steps": 5, "knots": 5},
}


def tiny_workload(name, *, data=None, items=None):
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 8)).astype(np.float32)
    model = nnx.Linear(8, 4, rngs=nnx.Rngs(0))
    y = np.argmax(np.asarray(model(jnp.asarray(x))), -1)
    return workload(
        model,
        Splits(x=x, y=y, train_x=x, train_y=y, place="drawn", split="all"),
        name=name,
        modality="image",
        metric="accuracy",
        items=items,
        weights="random",
    )


_WORK = tiny_workload("digits")
METRICS = {k: judge.make_metric(_WORK, per_item=k) for k in (False, True)}
_make_metric = judge.make_metric


def use(monkeypatch):
    """Let studies find the tiny network; one closure, so that traces are shared."""
    monkeypatch.setattr(run, "load", lambda name, **kwargs: _WORK)

    def make_metric(work, per_item=False):
        kept = work is _WORK
        return METRICS[per_item] if kept else _make_metric(work, per_item=per_item)

    monkeypatch.setattr(judge, "make_metric", make_metric)


def prepared(out: Path, *, resume=False, **changes):
    return run.prepare(validate(CONFIG | changes), out=out, resume=resume)
