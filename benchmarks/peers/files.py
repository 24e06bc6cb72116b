"""Weights to aihwkit and back: outputs, weights, conductances of its Fusion files.

    python3.12 -m venv peers && peers/bin/pip install aihwkit safetensors
    python benchmarks/peers/files.py --peer peers/bin/python

Prints the largest differences, relative to the largest value, and fails above 1e-5.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from safetensors.numpy import save_file

from anajax.interop import aihwkit


def network(key):
    """Parameters of a convolution and a layer after it, named as torch names them."""
    keys = jr.split(key, 4)
    return {
        "conv": {
            "kernel": jr.normal(keys[0], (3, 3, 3, 4)),
            "bias": jr.normal(keys[1], 4),
        },
        "fc": {"kernel": jr.normal(keys[2], (36, 5)), "bias": jr.normal(keys[3], 5)},
    }


def apply(params, x):
    axes = "NHWC", "HWIO", "NHWC"
    w = params["conv"]["kernel"]
    y = jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=axes)
    flat = jax.nn.relu(y + params["conv"]["bias"]).reshape(len(x), -1)
    return flat @ params["fc"]["kernel"] + params["fc"]["bias"]


def difference(got, want):
    return float(np.max(np.abs(np.asarray(got) - want)) / np.max(np.abs(want)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="a Python that has aihwkit")
    asked, params = parser.parse_args(), network(jr.key(0))
    x = np.asarray(jr.normal(jr.key(1), (6, 5, 5, 3)))
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_file(aihwkit.state_dict(params), folder / "ours.safetensors")
        np.save(folder / "x.npy", np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        side = Path(__file__).with_name("aihwkit_files_side.py")
        subprocess.run([asked.peer, side, folder], check=True)
        want = np.asarray(jnp.asarray(apply(params, x)))
        found["outputs of its layers"] = difference(np.load(folder / "y.npy"), want)
        back = aihwkit.from_state_dict(folder / "theirs.safetensors")
        for layer, part in params.items():
            for kind, value in part.items():
                path = f"{layer}/{kind}"
                found[path] = difference(back[path], np.asarray(value))
        aihwkit.write_fusion(folder / "ours.csv", params)
        own, other = (
            (folder / f).read_text().splitlines() for f in ("ours.csv", "theirs.csv")
        )
        names = dict(zip(other[5].split(","), other[6:], strict=True))
        for label, line in zip(own[5].split(","), own[6:], strict=True):
            g = np.array(line.split(","), float)
            layer = label.removesuffix("/kernel")
            theirs = np.array(names[layer].split(","), float)
            found[f"conductances of {layer}"] = difference(g, theirs)
    for what, value in found.items():
        print(f"{what}: {value:.1e}")
    assert max(found.values()) < 1e-5


if __name__ == "__main__":
    main()
