"""The gap to the digital network: few programs, with intervals, at column width.

Networks are rows, memories columns; in each panel the times stand below each other.
Shapes and filling tell programs apart, so that it reads in gray, too.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from anajax.studies.config.durations import UNITS, human
from anajax.studies.report import plots
from anajax.studies.report.blocks import format_of
from anajax.studies.report.statistics import DIGITAL, lost, of_device, strategies

TIMES = (UNITS["h"], UNITS["month"], UNITS["y"])
"""What is shown of the times, where they are there; else the last three."""
Z95 = 1.96
WIDTH, HEIGHT = 3.5, 1.1
"""Inches: of a column of print, and of a network."""
NEAR = 0.01
"""Share of the digital metric that is shaded: what is lost within it is little."""
ROLES = ("single pair", "best by hand", "least weight error", "recommended", "learned")
LOOK: dict[str, dict[str, Any]] = {
    "single pair": {"marker": "x", "color": "#888888"},
    "best by hand": {"marker": "s", "color": "#D55E00", "mfc": "white"},
    "least weight error": {"marker": "^", "color": "#0072B2", "mfc": "white"},
    "recommended": {"marker": "D", "color": "black"},
    "learned": {"marker": "D", "color": "black"},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gap:
    """What one program loses on one network, memory and time."""

    network: str
    device: str
    role: str
    time: float
    loss: float
    """Against digital, in the unit that is shown; positive where chips are worse."""
    half: float
    """Half of its 95 % interval, over chips and items."""
    near: float
    """A hundredth of the digital metric, in the same unit."""
    unit: str


def gaps(data: xr.Dataset) -> list[Gap]:
    """The gaps of a study of strategies that a figure shows."""
    show, made = format_of(data), []
    times = [t for t in TIMES if np.isclose(data.time.values, t).any()]
    times = times or list(data.time.values[-3:])
    near = NEAR * show.factor * abs(float(data.attrs["digital_metric"]))
    for device in map(str, data.device.values):
        one = of_device(data, device)
        found = lost(one)
        for time in times:
            if not np.isclose(one.time.values, time).any():
                continue
            at = found.sel(time=time, method="nearest")
            for role, label in _roles(data, at).items():
                loss = at.sel(strategy=label)
                made.append(
                    Gap(
                        network=str(data.attrs["workload"]), device=device, role=role,
                        time=float(time), loss=show.factor * float(loss["value"]),
                        half=Z95 * show.factor * float(loss["error"]), near=near,
                        unit=show.points,
                    )
                )  # fmt: skip
    return made


def _roles(data: xr.Dataset, at: xr.Dataset) -> dict[str, str]:
    """The label of the program of each role; by hand the best at this time."""
    known = {
        label: family
        for label, (family, trained) in strategies(data).items()
        if not trained and bool(at["value"].sel(strategy=label).notnull())
    }
    made = {}
    if "single_pair" in known:
        made["single pair"] = "single_pair"
    hand = [s for s, f in known.items() if f == "hand" and s != "single_pair"]
    if hand:
        made["best by hand"] = min(
            hand, key=lambda s: float(at["value"].sel(strategy=s))
        )
    if "optimized" in known:
        made["least weight error"] = "optimized"
    if "recommended" in known:
        made["recommended"] = "recommended"
    elif "targets" in known:
        made["learned"] = "targets"
    return made


def figure(found: Sequence[Gap]) -> Figure:
    """Panels of networks and memories, as wide as a column of print."""
    networks = list(dict.fromkeys(g.network for g in found))
    devices = list(dict.fromkeys(g.device for g in found))
    style: Any = {
        **plots.STYLE, "font.size": 7, "axes.titlesize": 7.5, "axes.labelsize": 7,
        "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "legend.fontsize": 7,
        "axes.linewidth": 0.6, "savefig.dpi": 300,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        size = WIDTH, HEIGHT * len(networks) + 0.75
        made = plots.Chart(figsize=size, layout="constrained")
        grid = made.subplots(len(networks), len(devices), squeeze=False, sharex="row")
        for i, network in enumerate(networks):
            own = [g for g in found if g.network == network]
            for axis, device in zip(grid[i], devices, strict=True):
                some = [g for g in own if g.device == device]
                _panel(axis, some, _limits(own), named=axis is grid[i, 0])
            _name(grid[i], own[0], first=i == 0, devices=devices)
        made.suptitle("Lost against the digital network, 95 % intervals", size=7.5)
        _legend(made, found)
    return made


def _name(row: Any, one: Gap, *, first: bool, devices: Sequence[str]) -> None:
    """The network over its row, and the memories over all."""
    words = f"{one.network.replace('_', ' ')} ({one.unit})"
    for k, (axis, device) in enumerate(zip(row, devices, strict=True)):
        above = f"{device.replace('_', ' ').upper()}\n" * first
        axis.set_title(above + words * (k == 0), loc="left", fontweight="bold")


def _limits(own: Sequence[Gap]) -> tuple[float, float]:
    """The range of a network: of all programs but a single pair, which may leave it."""
    some = [g for g in own if g.role != "single pair"] or list(own)
    low = min(min(g.loss - g.half for g in some), -own[0].near / 2)
    high = max(max(g.loss + g.half for g in some), 1.5 * own[0].near)
    room = 0.06 * (high - low)
    return low - room, high + room


def _panel(
    axis: Axes, some: Sequence[Gap], limits: tuple[float, float], *, named: bool
) -> None:
    times = sorted({g.time for g in some})
    roles = [r for r in ROLES if any(g.role == r for g in some)]
    if some:
        axis.axvspan(0, some[0].near, color="#DDDDDD", lw=0, zorder=0)
    axis.axvline(0, color="black", lw=0.8, zorder=1)
    for gap in some:
        spread = 0.62 * (roles.index(gap.role) / max(1, len(roles) - 1) - 0.5)
        y, look = times.index(gap.time) + spread, LOOK[gap.role]
        if gap.loss > limits[1]:  # an arrow to where it would be, and its number
            axis.annotate(
                f"{gap.loss:.3g} →", (limits[1], y), ha="right", va="center",
                fontsize=6, color="#555555",
                zorder=1.5,
            )  # fmt: skip
            continue
        axis.errorbar(
            gap.loss, y, xerr=gap.half, lw=0.9, ms=3.4, mew=0.9, capsize=0,
            ls="none", label=gap.role, **look,
        )  # fmt: skip
    axis.set_xlim(limits)
    axis.set_yticks(range(len(times)), [human(t) for t in times] if named else [])
    axis.set_ylim(len(times) - 0.5, -0.5)
    axis.tick_params(axis="both", length=2, pad=1.5)
    axis.xaxis.set_major_locator(MaxNLocator(4))


def _legend(made: Figure, found: Sequence[Gap]) -> None:
    there = [r for r in ROLES if any(g.role == r for g in found)]
    handles = [
        Line2D([], [], ls="none", ms=4, label=role, **LOOK[role]) for role in there
    ]
    handles.append(Patch(color="#DDDDDD", label=f"within 1 % of {DIGITAL}"))
    made.legend(
        handles=handles, loc="outside lower center", ncols=3, columnspacing=1.0,
        handletextpad=0.3,
    )  # fmt: skip
