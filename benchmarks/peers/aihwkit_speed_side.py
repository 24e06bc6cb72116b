"""Works of `speed.py` done by aihwkit, one for each line of input; prints seconds."""

import json
import sys
import time

import torch
from aihwkit.inference.converter.conductance import (
    DualPairConductanceConverter,
    SinglePairConductanceConverter,
)
from aihwkit.inference.noise.pcm import PCMLikeNoiseModel
from aihwkit.nn import AnalogLSTMCell, AnalogRNN, AnalogSequential
from aihwkit.nn.conversion import convert_to_analog
from aihwkit.optim import AnalogSGD
from aihwkit.simulator.configs import InferenceRPUConfig, TorchInferenceRPUConfig
from aihwkit.simulator.parameters.enums import (
    BoundManagementType,
    WeightModifierType,
)
from torch import nn

CONFIGS = {"torch tile": TorchInferenceRPUConfig, "C++ tile": InferenceRPUConfig}


def config(tile, io=True, rows=512):
    """Default converters without bound management, or none; one PCM pair a weight."""
    found = CONFIGS[tile]()
    found.forward.is_perfect = not io
    found.forward.bound_management = BoundManagementType.NONE
    found.mapping.max_input_size = found.mapping.max_output_size = rows
    found.noise_model = PCMLikeNoiseModel(g_max=25.0)
    return found


def programming(pairs):
    """The noise model alone, as a layer calls it."""
    weights = torch.rand(1000, 1000) * 2 - 1
    converter = (
        SinglePairConductanceConverter(g_max=25.0)
        if pairs == 1
        else DualPairConductanceConverter([1.0, 1.0], g_max=25.0)
    )
    model = PCMLikeNoiseModel(g_max=25.0, g_converter=converter)
    held = model.apply_programming_noise(weights)
    return {
        "program": lambda: model.apply_programming_noise(weights),
        "drift and read": lambda: model.apply_drift_noise(*held, 86400.0),
    }


def mlp():
    """784-512-256-10."""
    sizes, layers = (784, 512, 256, 10), []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn():
    """Two convolutions and a layer, for images of 28 x 28."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 10),
    )  # fmt: skip


class Lstm(nn.Module):
    """64 steps of 40 numbers, 100 cells, and a layer on the last step."""

    def __init__(self, how):
        super().__init__()
        self.cells = AnalogRNN(AnalogLSTMCell, 40, 100, bias=True, rpu_config=how)
        self.head = convert_to_analog(nn.Linear(100, 10), how)

    def forward(self, x):
        return self.head(self.cells(x)[0][-1])


def study(model, batches, times):
    """One chip: programmed once, read at each time, all items through it."""
    model.eval()

    def run():
        with torch.no_grad():
            model.program_analog_weights()
            for t in times:
                model.drift_analog_weights(t)
                for batch in batches:
                    model(batch)

    return run


def step(tile):
    """Forward, backward and update with weight noise and converters."""
    how = config(tile)
    how.modifier.type = WeightModifierType.ADD_NORMAL
    how.modifier.std_dev = 0.05
    model = convert_to_analog(mlp(), how).train()
    optimizer = AnalogSGD(model.parameters(), lr=1e-3)
    x, y = torch.randn(128, 784), torch.randint(0, 10, (128,))

    def run():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return run


def forward(tile):
    model = convert_to_analog(nn.Linear(1024, 1024), config(tile)).eval()
    x = torch.randn(128, 1024)

    def run():
        with torch.no_grad():
            model(x)

    return run


def work(asked):
    """The function of one work."""
    name, tile = asked["work"], asked.get("tile")
    if name in ("program", "drift and read"):
        return programming(asked["pairs"])[name]
    if name == "forward":
        return forward(tile)
    if name == "step":
        return step(tile)
    shape, how = asked["shape"], config(tile, asked["io"])
    if name == "lstm":
        shape = [shape[0], shape[2], shape[1], shape[3]]  # time leads
    batches = list(torch.randn(shape))
    if name == "lstm":
        model = AnalogSequential(Lstm(how))
    else:
        model = convert_to_analog({"mlp": mlp, "cnn": cnn}[name](), how)
    return study(model, batches, asked["times"])


def main():
    torch.manual_seed(0)
    torch.set_num_threads(2)
    known = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if line not in known:
            known[line] = work(asked)
            known[line]()  # once to warm up
        start = time.perf_counter(), time.process_time()
        for _ in range(asked["repeats"]):
            known[line]()
        spent = time.perf_counter() - start[0], time.process_time() - start[1]
        print(json.dumps([s / asked["repeats"] for s in spent]), flush=True)


if __name__ == "__main__":
    main()
