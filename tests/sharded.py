"""Chips on meshes of forced host devices, for tests; prints what differs as JSON.

python sharded.py pcm 8x1 4x2    (or `small 4x2`: conductances of one simple layer)
"""

import json
import sys

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import Partial

import anajax
from anajax import chip, devices
from anajax._core.tree import replace
from anajax.analysis import evaluate, sharding
from anajax.mapping import hand as strategies
from anajax.mapping.layout import Layout

SIZES = {"a/kernel": (24, 16), "b/kernel": (16, 10)}
TIMES = [1.0, 3600.0]
CHIPS = 11  # not a multiple of any mesh


def network():
    """Two layers as a plain dict, and 16 items in two batches."""
    random = np.random.default_rng(0)
    params = {
        path: jnp.asarray(random.normal(size=shape), jnp.float32)
        for path, shape in SIZES.items()
    }
    return params, jnp.asarray(random.normal(size=(2, 8, 24)), jnp.float32)


def bare(params, device):
    """Layers of one device a weight whose weight is its conductance in uS."""
    random = np.random.default_rng(1)
    layers = {}
    for path, w in params.items():
        low, high = float(device.g_min), float(device.g_max)
        g = random.uniform(low, high, (*w.shape, 1))
        one = jnp.ones(1)
        layers[path] = chip.LayerProgram(
            targets=jnp.asarray(g, jnp.float32),
            coefficients=one,
            offset=0.0,
            w_max=1.0,
            layout=Layout(columns=(1,)),
        )
    return layers


def all_weights(p):
    return jnp.concatenate([w.ravel() for w in p.values()])


def outputs(x, p):
    """Outputs of the network, and their mean over all items."""
    y = jnp.maximum(x @ p["a/kernel"], 0) @ p["b/kernel"]
    return jnp.concatenate([y.ravel(), jnp.mean(y)[None]])


def conductances(device, mesh):
    params, _ = network()
    found = evaluate.evaluate(
        all_weights,
        params,
        device,
        bare(params, device),
        TIMES,
        chips=CHIPS,
        key=anajax.key(7),
        scope="none",
        mesh=mesh,
    )
    return np.asarray(found.metric)


def measured(device, mesh):
    params, x = network()
    metric = Partial(outputs, x)
    if mesh is not None:
        metric = sharding.place(metric, mesh, cut="items")
    found = evaluate.evaluate(
        metric,
        params,
        device,
        strategies.lsp_first(device),
        TIMES,
        chips=CHIPS,
        key=anajax.key(7),
        mesh=mesh,
    )
    return np.asarray(found.metric), np.asarray(found.weight_rms_error)


def cuts(mesh: Mesh):
    """How a mesh cuts weights, targets and items."""
    params, x = network()
    layers = chip.encode_weights(params, strategies.lsp_first(devices.pcm()))
    placed = sharding.place(layers, mesh, cut="weights")["a/kernel"].targets
    return {
        "targets": placed.sharding.spec == PartitionSpec(sharding.PARTS, None, None),
        "share": placed.addressable_shards[0].data.size / placed.size,
        "items": sharding.place(x, mesh, cut="items").addressable_shards[0].data.shape,
    }


def small(meshes):
    """The least that shows it: one layer, one device a weight, one time."""
    device = devices.state_independent()
    params, x = network()
    params.pop("b/kernel")

    def metric(x, p):
        y = jnp.mean(x @ p["a/kernel"])
        return jnp.concatenate([p["a/kernel"].ravel(), y[None]])

    def run(mesh):
        data = Partial(metric, x)
        found = evaluate.evaluate(
            data if mesh is None else sharding.place(data, mesh, cut="items"),
            params,
            device,
            bare(params, device),
            TIMES[1:],
            chips=5,
            key=anajax.key(7),
            scope="none",
            mesh=mesh,
        )
        return np.asarray(found.metric)

    return run(None), {name: run(mesh_of(name)) for name in meshes}


def mesh_of(name):
    chips, parts = map(int, name.split("x"))
    return sharding.make_mesh(chips * parts, parts=parts)


def main_small(meshes):
    one, others = small(meshes)
    found = {"spread": float(np.median(np.std(one[..., :-1], 0)))}
    for name, other in others.items():
        found[name] = {
            "shape": one.shape == other.shape,
            "bits": bool(np.array_equal(one[..., :-1], other[..., :-1])),
            "outputs": float(np.max(np.abs(other[..., -1] / one[..., -1] - 1))),
            "cuts": cuts(mesh_of(name)),
        }
    print(json.dumps(found))


def main(device, meshes):
    faulty = replace(device, faults=devices.Faults(stuck_low=0.05, stuck_high=0.05))
    g, (y, rms) = conductances(faulty, None), measured(device, None)
    found = {"spread": float(np.median(np.std(g, 0)))}
    for name in meshes:
        mesh = mesh_of(name)
        other, (y_m, rms_m) = conductances(faulty, mesh), measured(device, mesh)
        found[name] = {
            "bits": bool(g.tobytes() == other.tobytes()),
            "outputs": float(np.abs(y_m - y).max() / np.abs(y).max()),
            "output_bits": bool(y_m.tobytes() == y.tobytes()),
            "rms": float(np.abs(rms_m / rms - 1).max()),
            "shape": y_m.shape == y.shape,
            "cuts": cuts(mesh),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "small":
        main_small(sys.argv[2:])
    else:
        main(devices.presets()[sys.argv[1]](), sys.argv[2:])
