"""Weights programmed, drifted and read by aihwkit, for `weight_error.py`.

Runs in an environment of its own (`pip install aihwkit`, Python 3.12); reads a JSON of
weights, times and arguments of converters, writes the weights of every chip at every
time. Each device keeps its state from programming to drift: `apply_drift_noise` of
aihwkit would fold pairs into a weight in between.
"""

import json
import sys

import numpy as np
import torch
from aihwkit.inference.converter.conductance import CustomPairConductanceConverter
from aihwkit.inference.noise.pcm import PCMLikeNoiseModel


def chips(asked, arguments):
    """Weights `[chips times n]` of one strategy."""
    weights = torch.tensor(asked["weights"], dtype=torch.float32)
    converter = CustomPairConductanceConverter(**arguments)
    model = PCMLikeNoiseModel(g_max=arguments["g_max"], g_converter=converter)
    targets, params = converter.convert_to_conductances(weights)
    found = []
    for _ in range(asked["chips"]):
        cells = [model.apply_programming_noise_to_conductance(g) for g in targets]
        drifts = [model.generate_drift_coefficients(g) for g in targets]
        for t in asked["times"]:
            aged = [
                model.apply_drift_noise_to_conductance(g, nu, t)
                for g, nu in zip(cells, drifts, strict=True)
            ]
            found.append(converter.convert_back_to_weights(aged, params).numpy())
    shape = asked["chips"], len(asked["times"]), weights.numel()
    return np.array(found, np.float32).reshape(shape)


def main():
    torch.manual_seed(0)
    with open(sys.argv[1]) as file:
        asked = json.load(file)
    found = {name: chips(asked, how) for name, how in asked["strategies"].items()}
    np.savez(sys.argv[2], **found)


if __name__ == "__main__":
    main()
