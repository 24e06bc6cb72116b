"""A study small enough for tests: one linear layer, two strategies, two times."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from anajax.analysis.workload import Splits, evaluate, workload
from anajax.studies import run
from anajax.studies.load import validate

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
METRICS = {
    False: lambda params: jnp.mean(evaluate(_WORK, params)),
    True: lambda params: evaluate(_WORK, params),
}
"""Metric of the digital network, the mean over items or of each of them."""


def use(monkeypatch):
    """Let studies find the tiny network; one object, so that traces are shared."""
    monkeypatch.setattr(run, "load", lambda name, **kwargs: _WORK)


def prepared(out: Path, *, resume=False, **changes):
    return run.prepare(validate(CONFIG | changes), out=out, resume=resume)
