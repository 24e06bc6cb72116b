"""What aihwkit makes of our weights, for `files.py`; runs where aihwkit is."""

import sys
from pathlib import Path

import numpy as np
import torch
from aihwkit.nn.conversion import convert_to_analog, convert_to_digital
from aihwkit.simulator.configs import InferenceRPUConfig
from aihwkit.utils.export import fusion_export
from safetensors.torch import load_file, save_file
from torch import nn


class Network(nn.Module):
    """A convolution and a layer after it."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(36, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).permute(0, 2, 3, 1).flatten(1))


def main(folder):
    model = Network()
    model.load_state_dict(load_file(folder / "ours.safetensors"))
    how = InferenceRPUConfig()
    how.forward.is_perfect = True
    analog = convert_to_analog(model, how).eval()
    x = torch.tensor(np.load(folder / "x.npy"))
    with torch.no_grad():
        np.save(folder / "y.npy", analog(x).numpy())
    fusion_export(analog, file_name=str(folder / "theirs.csv"))
    back = convert_to_digital(analog).state_dict()
    save_file(
        {k: v.contiguous() for k, v in back.items()}, folder / "theirs.safetensors"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
