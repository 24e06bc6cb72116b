"""The gap to the digital network: a few programs with intervals, for print and slides.

In print, networks are rows and memories columns, and the figure is one column wide; on
slides it is the other way around. Each panel has one row per time. Programs differ in
the shape of their marks, so that the figure can also be read in gray.
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

from anajax._core.units import UNITS, human
from anajax.studies import names
from anajax.studies.kinds.strategies_figures import (
    BY_HAND,
    LOOK,
    RECOMMENDED,
    SINGLE,
    name_of,
)
from anajax.studies.report import plots
from anajax.studies.report.statistics import DIGITAL, lost, of_device, strategies

TIMES = (UNITS["h"], UNITS["month"], UNITS["y"])
"""The times to show, if they were measured; otherwise the last three."""
Z95 = 1.96
WIDTH, HEIGHT = 3.5, 1.2
"""Width of a column in print, and height of a network in it, in inches."""
SLIDE = 11.0, 6.2
"""Size of a slide in inches."""
BARS = ((1.1 * UNITS["month"], 1.0), (np.inf, 2.0))
"""Largest loss that counts as small, in % of the digital metric, up to each time."""
ROLES = (
    "single pair", BY_HAND, "least weight error", "least output error",
    "learned targets", RECOMMENDED,
)  # fmt: skip
SHADE = "#DDDDDD"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gap:
    """Loss of one program on one network and memory at one time."""

    network: str
    device: str
    role: str
    """One of `ROLES`."""
    time: float
    loss: float
    """Relative to digital, in % of the digital metric; positive if chips are worse."""
    half: float
    """Half-width of its 95 % interval, over chips and items."""


def gaps(data: xr.Dataset) -> list[Gap]:
    """The gaps of a strategy study that a figure shows."""
    made = []
    times = [t for t in TIMES if np.isclose(data.time.values, t).any()]
    times = times or list(data.time.values[-3:])
    share = 100 / abs(float(data.attrs["digital_metric"]))
    for device in map(str, data.device.values):
        one = of_device(data, device)
        found = lost(one) * share
        for time in times:
            if not np.isclose(one.time.values, time).any():
                continue
            at = found.sel(time=time, method="nearest")
            for role, label in _roles(data, at).items():
                loss = at.sel(strategy=label)
                made.append(
                    Gap(
                        network=str(data.attrs["workload"]), device=device, role=role,
                        time=float(time), loss=float(loss["value"]),
                        half=Z95 * float(loss["error"]),
                    )
                )  # fmt: skip
    return made


def _roles(data: xr.Dataset, at: xr.Dataset) -> dict[str, str]:
    """The label of the program in each role; by hand, the best one at this time."""
    known = {
        label: family
        for label, (family, trained) in strategies(data).items()
        if not trained and bool(at["value"].sel(strategy=label).notnull())
    }
    hand = [s for s, f in known.items() if f == "hand" and s != SINGLE]
    made = {}
    if hand:
        made[BY_HAND] = min(hand, key=lambda s: float(at["value"].sel(strategy=s)))
    named = {name_of(data, s): s for s in known}
    return made | {role: named[role] for role in ROLES if role in named}


# --- the figure -----------------------------------------------------------------------


def figure(found: Sequence[Gap], *, slide: bool = False) -> Figure:
    """Panels of networks and memories.

    Args:
        found: the gaps.
        slide: whether it is for a slide; otherwise it is one column wide, for print.
    """
    networks = list(dict.fromkeys(g.network for g in found))
    devices = list(dict.fromkeys(g.device for g in found))
    text = 10.0 if slide else 7.0
    style: Any = {
        **plots.STYLE, "font.size": text, "axes.titlesize": text,
        "axes.labelsize": text, "xtick.labelsize": text - 0.5,
        "ytick.labelsize": text - 0.5, "legend.fontsize": text,
        "axes.linewidth": 0.6, "figure.dpi": 150 if slide else 300,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        size = SLIDE if slide else (WIDTH, HEIGHT * len(networks) + 0.85)
        made = plots.Chart(figsize=size, layout="constrained")
        counts = len(networks), len(devices)
        grid: Any = made.subplots(*(counts[::-1] if slide else counts), squeeze=False)
        by_network = grid.T if slide else grid
        for network, row in zip(networks, by_network, strict=True):
            own = [g for g in found if g.network == network]
            for axis, device in zip(row, devices, strict=True):
                some = [g for g in own if g.device == device]
                _panel(axis, some, _limits(own), named=axis in grid[:, 0])
        _name(grid, networks, devices, slide=slide)
        what = f"Lost, % of the {DIGITAL} metric, with 95 % intervals"
        made.suptitle(what, size=text + 0.5)
        _legend(made, found, columns=4 if slide else 2)
    return made


def _name(
    grid: Any, networks: Sequence[str], devices: Sequence[str], *, slide: bool
) -> None:
    """Names of networks and memories, above columns, above rows or to their left."""
    if slide:
        for axis, network in zip(grid[0], networks, strict=True):
            axis.set_title(names.network(network).replace(", ", ",\n"))
        for axis, device in zip(grid[:, 0], devices, strict=True):
            axis.set_ylabel(names.device(device), fontweight="bold")
        return
    for i, (row, network) in enumerate(zip(grid, networks, strict=True)):
        for k, (axis, device) in enumerate(zip(row, devices, strict=True)):
            above = f"{names.device(device)}\n" * (i == 0)
            axis.set_title(above + names.upper(names.network(network)) * (k == 0))


def _limits(own: Sequence[Gap]) -> tuple[float, float]:
    """The range of a network: all programs; only a single pair may lie outside it."""
    some = [g for g in own if g.role != ROLES[0]] or list(own)
    least = max(_bar(g.time) for g in own)
    low = min(min(g.loss - g.half for g in some), -least / 4)
    high = max(max(g.loss + g.half for g in some), 1.1 * least)
    room = 0.06 * (high - low)
    return low - room, high + room


def _bar(time: float) -> float:
    """Largest loss that counts as small at a time, in % of the digital metric."""
    return next(bar for until, bar in BARS if time <= until)


def _panel(
    axis: Axes, some: Sequence[Gap], limits: tuple[float, float], *, named: bool
) -> None:
    if not some:
        axis.set_axis_off()
        return
    times = sorted({g.time for g in some})
    for row, time in enumerate(times):
        axis.barh(row, _bar(time), height=1, color=SHADE, zorder=0)
        axis.vlines(_bar(time), row - 0.5, row + 0.5, color="#777777", lw=0.8)
    axis.axvline(0, color="black", lw=0.8, zorder=1)
    ms = 0.5 * matplotlib.rcParams["font.size"]
    for row, time in enumerate(times):
        at = {g.role: g for g in some if g.time == time}
        for role, y in _rows(at).items():
            _mark(axis, at[role], row + y, limits[1], ms)
    axis.set_xlim(limits)
    axis.set_yticks(range(len(times)), [human(t) for t in times] if named else [])
    axis.set_ylim(len(times) - 0.5, -0.5)
    axis.tick_params(axis="both", length=2, pad=1.5)
    axis.xaxis.set_major_locator(MaxNLocator(4))


def _rows(at: dict[str, Gap]) -> dict[str, float]:
    """Positions of the programs at one time; a recommended one is at its choice."""
    roles = [r for r in ROLES if r in at]
    mine = at.get(RECOMMENDED)
    same = [r for r in roles[:-1] if mine and at[r].loss == mine.loss]
    alone = [r for r in roles if r != RECOMMENDED or not same]
    places = np.linspace(-0.33, 0.33, len(alone)) if len(alone) > 1 else [0.0]
    found = dict(zip(alone, map(float, places), strict=True))
    return found | ({RECOMMENDED: found[same[-1]]} if same else {})


def _mark(axis: Axes, gap: Gap, y: float, end: float, ms: float) -> None:
    """Draw a program with its interval; beyond the range, its value as text."""
    if gap.loss > end:
        axis.annotate(
            f"{gap.loss:.3g} →", (end, y), ha="right", va="center", color="#555555",
            fontsize=0.85 * matplotlib.rcParams["font.size"], zorder=1.5,
            bbox={"color": "white", "alpha": 0.7, "pad": 0.5, "lw": 0},
        )  # fmt: skip
        return
    axis.errorbar(gap.loss, y, xerr=gap.half, lw=0.9, ls="none", **_look(gap.role, ms))


def _look(role: str, ms: float) -> dict[str, Any]:
    if role == RECOMMENDED:
        return {"color": "black", "marker": "o", "mfc": "none", "ms": 1.9 * ms}
    look = LOOK[role]
    return {"color": look["color"], "marker": look["marker"], "ms": ms}


def _legend(made: Figure, found: Sequence[Gap], *, columns: int) -> None:
    there = [r for r in ROLES if any(g.role == r for g in found)]
    ms = 0.6 * matplotlib.rcParams["font.size"]
    handles: list[Any] = [
        Line2D([], [], ls="none", label=role, **_look(role, ms)) for role in there
    ]
    low, high = (bar for _, bar in BARS)
    bars = f"within {low:g} % to a month, {high:g} % to a year"
    handles.append(Patch(facecolor=SHADE, edgecolor="#777777", label=bars))
    made.legend(
        handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.0,
        handletextpad=0.4,
    )  # fmt: skip
