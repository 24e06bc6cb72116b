"""The side of aihwkit 1.2, in its own environment."""

import torch
from aihwkit.inference import PCMLikeNoiseModel
from aihwkit.inference.converter.conductance import (
    DualPairConductanceConverter,
    SinglePairConductanceConverter,
)
from aihwkit.nn.conversion import convert_to_analog
from aihwkit.optim import AnalogSGD
from aihwkit.simulator.configs import TorchInferenceRPUConfig
from aihwkit.simulator.parameters import WeightModifierType
from torch import nn
from worker import serve

TIMES = [1.0, 60.0, 3600.0, 86400.0, 604800.0, 2592000.0, 31536000.0]
ITEMS, BATCH, CHIPS = 10_000, 1000, 5
torch.manual_seed(0)


def devices_of(converter):
    """Program a million weights, and drift and read them at one time."""
    model = PCMLikeNoiseModel(g_converter=converter, g_max=25.0)
    weights = 2 * torch.rand(1024, 1024) - 1
    programmed, drift = model.apply_programming_noise(weights)
    return (
        lambda: model.apply_programming_noise(weights),
        lambda: model.apply_drift_noise(programmed, drift, 86400.0),
    )


def config(perfect):
    """Tiles of 512, default converters with output noise, or none."""
    made = TorchInferenceRPUConfig()
    made.mapping.max_input_size = made.mapping.max_output_size = 512
    made.forward.is_perfect = perfect
    made.noise_model = PCMLikeNoiseModel(g_max=25.0)
    return made


def mlp():
    """Linear layers with ReLU between them."""
    pairs = [(784, 512), (512, 256), (256, 10)]
    each = [m for a, b in pairs for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*each[:-1])


def forward():
    """A batch through a matrix."""
    model = convert_to_analog(nn.Linear(1024, 1024, bias=False), config(False)).eval()
    x = torch.randn(128, 1024)

    def run():
        with torch.no_grad():
            model(x)

    return run


def study(perfect):
    """An MLP on some chips at seven times."""
    model = convert_to_analog(mlp(), config(perfect)).eval()
    x = torch.randn(ITEMS, 784).split(BATCH)

    def run():
        with torch.no_grad():
            for _ in range(CHIPS):
                model.program_analog_weights()
                for t in TIMES:
                    model.drift_analog_weights(t)
                    for batch in x:
                        model(batch).argmax(-1)

    return run


def train():
    """A step with weight noise and converters, without output noise."""
    made = config(False)
    made.forward.out_noise = 0.0
    made.modifier.type = WeightModifierType.ADD_NORMAL
    made.modifier.std_dev = 0.05
    model = convert_to_analog(mlp(), made).train()
    optimizer = AnalogSGD(model.parameters(), lr=1e-3)
    x, y = torch.randn(128, 784), torch.randint(10, (128,))

    def run():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return run


RANGE = {"g_max": 25.0, "g_min": 0.0}
PAIR = SinglePairConductanceConverter(**RANGE)
PAIRS = DualPairConductanceConverter(f_lst=[1.0, 1.0], **RANGE)
serve(
    {
        "program 1 M weights, one pair": lambda: devices_of(PAIR)[0],
        "drift and read, one pair": lambda: devices_of(PAIR)[1],
        "program 1 M weights, two pairs": lambda: devices_of(PAIRS)[0],
        "drift and read, two pairs": lambda: devices_of(PAIRS)[1],
        "forward 1024 x 1024, batch 128, converters and noise": forward,
        "study of an MLP, 5 chips x 7 times": lambda: study(perfect=True),
        "study of an MLP, converters": lambda: study(perfect=False),
        "training step of an MLP": train,
    }
)
