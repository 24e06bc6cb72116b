"""Estimate of a study: devices, memory and time, from shapes and a few measured times.

Measured on this machine, in a few seconds: loading the network, compiling, drawing
devices, and running the network with the converters of the study, or a product of the
same size if the network cannot be run here. Time for searches and learning is not
included.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax import chip, rng
from anajax._core.types import PyTree
from anajax.analysis.evaluate import BUDGET, HELD
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.points import FILL
from anajax.devices.base import Device
from anajax.mapping.hand import lsp_first
from anajax.mapping.layout import IN_OUT
from anajax.studies import run
from anajax.studies.config.study import StudyConfig, devices_of
from anajax.studies.plan import (
    FLOAT,
    devices_per_weight,
    make_device,
    network_of,
    periphery_of,
)
from anajax.studies.ways.base import DIGITAL
from anajax.transformation import Report, Rule, analog
from anajax.workloads.language.checkpoints import hf_config
from anajax.workloads.language.smollm2 import TIME

SIDE, MIXED = 512, 2048
"""Rows and columns of the test layer, and vectors of the test product."""
COMPILED = 3
"""Programs with the network in them: the digital one, the calibration, the chips."""
ALLOCATED = 1.6
"""Memory of the process per byte of arrays: freed blocks are kept (measured on
SmolLM2, Linux, 2 cores)."""
REPORT = 4.0
"""Seconds for the figures and the report."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """The estimate for a study."""

    weights: int
    """Number of analog weights."""
    tiles: int
    """Number of tiles with one device per weight."""
    devices: float
    """Number of devices of one chip, for the strategy with the most."""
    read_outs: int
    """Chips times times, over all strategies and devices of the study."""
    memory: float
    """Memory in bytes, in addition to that of Python and JAX."""
    preparing: float
    """Seconds before the first chip, and for the report: loading, compiling, running
    the digital network, and one pass over all weights for each program."""
    drawing: float
    """Seconds for drawing chips."""
    network: float
    """Seconds for running the network on all items at each read-out."""
    redrawn: bool
    """Whether cells are drawn again at each time."""

    @property
    def seconds(self) -> float:
        """Seconds for the whole study, without searches and training."""
        return self.preparing + self.drawing + self.network

    def __str__(self) -> str:
        how = "layer by layer, again at each time" if self.redrawn else "once per chip"
        rows = (
            ("analog weights", f"{self.weights:,} on {self.tiles:,} tiles"),
            ("devices per chip", f"{self.devices:,.0f} at most"),
            ("read-outs", f"{self.read_outs:,} (strategies x chips x times)"),
            ("memory", f"{self.memory / 1e9:.2f} GB"),
            ("preparing", duration(self.preparing)),
            ("drawing cells", f"{duration(self.drawing)}, {how}"),
            ("running the network", duration(self.network)),
            ("total", f"{duration(self.seconds)}, without searches and training"),
        )
        return "\n".join(f"{name:<21}{text}" for name, text in rows)


def duration(seconds: float) -> str:
    """Seconds in words."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def forecast(
    config: StudyConfig, *, data: Path | None = None, sizes: Path | None = None
) -> Forecast:
    """Estimate of what the study of a config takes on this machine.

    Args:
        config: from `load_config`.
        data: folder with local data sets.
        sizes: `config.json` of a Llama network, which replaces the workload: only its
            shapes are used, with the same number of text windows.

    Raises:
        FileNotFoundError: if data are missing.
        ValueError: if the file does not describe such a network.
    """
    if sizes is None:
        start = time.perf_counter()
        work = run.workload_of(config.workload, data)
        loaded, network = time.perf_counter() - start, network_of(config, work)
        once, each, outputs = _measured(network)
        count, batch = len(work.x), min(work.batch / len(work.x), 1.0)
        once = loaded + COMPILED * once
        return _of(
            config, work.params, network.report, once, count * each, outputs, batch
        )
    net = hf_config(json.loads(sizes.read_text()))
    count = config.workload.items or 1
    params, x = net.shapes(), jax.ShapeDtypeStruct((1, TIME), jnp.int32)
    rules = [Rule("embed", digital=True), Rule(".*", tiles=periphery_of(config).tiles)]
    found = analog(net.logits, rules).report(params, x)
    weights = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
    seconds = count * 2 * TIME * weights / _flops()
    outputs = FLOAT * count * TIME * net.vocabulary
    return _of(config, params, found, 0.0, seconds, outputs, 1 / count)


def _of(
    config: StudyConfig,
    params: PyTree,
    found: Report,
    once: float,
    items: float,
    outputs: float,
    batch: float,
) -> Forecast:
    """The forecast.

    Args:
        config: of the study.
        params: arrays or their shapes.
        found: which of them are analog.
        once: seconds for loading and compiling the network.
        items: seconds of the network on all items.
        outputs: bytes of the outputs for all items.
        batch: share of the items in a batch, at most 1.
    """
    sizes = [int(np.prod(p.shape)) for p in found.analog]
    weights, whole = sum(sizes), jax.tree.leaves(params)
    ways = [way for way in config.ways if way.family != DIGITAL]
    many = [devices_per_weight(way, config) for way in ways]
    sections = devices_of(config)
    chips = config.chips
    read_outs = len(ways) * len(sections) * chips * len(config.times)
    cells = FLOAT * (1 + HELD)
    redrawn = cells * weights * max(many) > BUDGET
    held = sizes if not redrawn else [max(sizes)]
    every = FLOAT * sum(int(np.prod(leaf.shape)) for leaf in whole)
    memory = 3 * every + 1.5 * cells * sum(held) * max(many)
    batches = -(-int(np.ceil(1 / batch)) // FILL) * FILL
    memory += outputs * (1 + batch * (batches + 3))  # those of digital, and of a batch
    rounds = chips * (len(config.times) if redrawn else 1)
    timed = [_draws(make_device(section)) for section in sections]
    pass_over = weights * sum(many) * sum(each for _, each in timed)
    shapes = len({(p.rows, p.columns) for p in found.analog})
    compiled = shapes * sum(compiling for compiling, _ in timed)
    return Forecast(
        weights=weights,
        tiles=found.tiles,
        devices=weights * max(many),
        read_outs=read_outs,
        memory=ALLOCATED * memory,
        preparing=once + compiled + items + pass_over + REPORT,
        drawing=rounds * pass_over,
        network=read_outs * items,
        redrawn=redrawn,
    )


# --- rates of this machine ------------------------------------------------------------


def _timed(function: Callable[[], Any]) -> tuple[float, float]:
    """Seconds for compiling a call, and for the call."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return max(seconds[0] - seconds[1], 0.0), seconds[1]


def _measured(network: AnalogNetwork) -> tuple[float, float, float]:
    """Seconds for compiling a network, for an item, and bytes of outputs for all."""
    work, key = network.work, rng.key(0)
    apply = work.apply
    if network.converted:
        apply = partial(network.function, key=key)
    x, step = work.x[: work.batch], jax.jit(apply)
    once, seconds = _timed(lambda: step(work.params, x))
    out = jax.eval_shape(work.apply, work.params, work.x)
    return once, seconds / len(x), float(out.size * out.dtype.itemsize)


def _flops() -> float:
    """Floating-point operations of products in a second."""
    x, w = jnp.ones((MIXED, SIDE)), jnp.ones((SIDE, 4 * SIDE))
    step = jax.jit(jnp.matmul)
    return 2 * MIXED * SIDE * 4 * SIDE / _timed(lambda: step(x, w))[1]


def _draws(device: Device) -> tuple[float, float]:
    """Seconds for compiling, and to draw, age and read a device of a large layer."""
    params = {"w": jnp.linspace(-1, 1, SIDE**2).reshape(SIDE, SIDE)}
    way = lsp_first(device)
    layers = chip.unwritten(params, way, layout={"w": IN_OUT})
    t = min(3600.0, device.valid_times[1])

    def draw() -> Any:
        return chip.drawn(device, layers, params, t=t, index=1, key=rng.key(0))

    once, seconds = _timed(draw)
    return once, seconds / (SIDE**2 * way.cell.devices)
