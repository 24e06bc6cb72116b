"""The network of config.yaml; `load` returns it with its test data."""

import jax
import jax.numpy as jnp
import numpy as np

import anajax
from anajax.workloads import Workload


def apply(params: dict, x: jax.Array) -> jax.Array:
    """Logits `[n classes]` of inputs `[n features]`: any JAX function of arrays."""
    hidden = jax.nn.relu(x @ params["hidden"] + params["bias"])
    return hidden @ params["out"]


def load(items: int = 300, seed: int = 0) -> Workload:
    """Called by config.yaml, with its `options` as arguments.

    Weights and data are random here; replace them with yours: weights from any
    framework with `anajax.interop.read("model.safetensors")`, data with `numpy.load`.
    """
    random = np.random.default_rng(seed)
    centers = 2 * random.normal(size=(3, 8))
    train_y, y = random.integers(3, size=1000), random.integers(3, size=items)
    train_x, x = (centers[k] + random.normal(size=(k.size, 8)) for k in (train_y, y))
    params = {"hidden": random.normal(size=(8, 32)), "bias": np.zeros(32)}
    features = np.maximum(train_x @ params["hidden"], 0)
    params["out"] = np.linalg.lstsq(features, np.eye(3)[train_y], rcond=None)[0]
    return anajax.workload(
        apply,
        params,
        x,
        y,
        metric="accuracy",  # or metric(outputs, y), a function of yours
        train=(train_x, train_y),
        name="my_net",
    )


if __name__ == "__main__":  # python my_net.py: is it the network that was trained?
    found = load()
    print(found.metric, float(jnp.mean(anajax.workloads.evaluate(found))))
