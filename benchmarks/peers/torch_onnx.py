"""Networks of torch, exported to ONNX by one call each, and what torch computes.

    python -m venv peers && peers/bin/pip install torch onnx onnxscript numpy
    peers/bin/python benchmarks/peers/torch_onnx.py      # tests/torch_onnx.npz

`tests/test_onnx.py` reads the files back and compares outputs.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

OUT = Path(__file__).parents[2] / "tests" / "torch_onnx.npz"


class Last(nn.Module):
    """A recurrent network and a head on its last step."""

    def __init__(self, kind, **how):
        super().__init__()
        self.cells = kind(5, 7, batch_first=True, **how)
        self.head = nn.Linear(7 * (2 if how.get("bidirectional") else 1), 3)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


class Attention(nn.Module):
    """A block of a transformer, written with plain products."""

    def __init__(self, size=12, heads=3):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(size), nn.LayerNorm(size)])
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)

    def forward(self, x):
        batch, length, size = x.shape
        parts = self.qkv(self.norms[0](x)).view(batch, length, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / (size // self.heads) ** 0.5
        mask = torch.triu(torch.full((length, length), -1e9), 1)
        seen = (scores + mask).softmax(-1) @ v
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, size))
        return x + self.down(nn.functional.gelu(self.up(self.norms[1](x))))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4), nn.SiLU(),
        nn.ConvTranspose2d(8, 4, 2, stride=2), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(4 * 5 * 5, 6),
    )  # fmt: skip


NETWORKS = {
    "lstm": (lambda: Last(nn.LSTM, num_layers=2, bidirectional=True), (2, 6, 5)),
    "gru": (lambda: Last(nn.GRU), (2, 6, 5)),
    "conv": (convolutions, (2, 3, 10, 10)),
    "attention": (Attention, (2, 5, 12)),
    "encoder": (
        lambda: nn.TransformerEncoderLayer(12, 3, 24, batch_first=True), (2, 5, 12)
    ),
}  # fmt: skip


def settled(network):
    """In evaluation mode, its batch norms with statistics of their own."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return network.eval()


def main():
    torch.manual_seed(0)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, shape) in NETWORKS.items():
            network, x = settled(make()), torch.randn(shape)
            path = Path(folder) / f"{name}.onnx"
            torch.onnx.export(network, (x,), path, external_data=False)
            with torch.no_grad():
                found[f"{name}/y"] = network(x).numpy()
            found[f"{name}/x"] = x.numpy()
            found[f"{name}/onnx"] = np.frombuffer(path.read_bytes(), np.uint8)
            print(name, path.stat().st_size, "bytes", flush=True)
    np.savez_compressed(OUT, torch=torch.__version__, **found)


if __name__ == "__main__":
    main()
