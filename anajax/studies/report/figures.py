"""Figures of results: drawn from the arrays on disk alone.

Colors are those of Okabe and Ito, then of Tol, told apart by all common color visions;
markers and dashes repeat what they say. Every axis has its unit.
"""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from anajax.chip import Strategies
from anajax.mapping.strategy import Strategy, encode
from anajax.studies.config.durations import UNITS, human
from anajax.studies.report.results import DIGITAL, programmed, shown

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    xr = Axes = Figure = Any

COLORS = (
    "#999999",
    "#E69F00",
    "#009E73",
    "#56B4E9",
    "#CC79A7",
    "#D55E00",
    "#0072B2",
    "#882255",
    "#44AA99",
    "#332288",
    "#AA4499",
    "#117733",
)
OPTIMIZED = "#0072B2"
_MARKERS = "osD^vPX*"
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "anajax",
    "savefig.dpi": 150,
}


def render(draw: Any) -> dict[str, bytes]:
    """The PNG and SVG of the figure that `draw` returns, without dates in them."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(_STYLE):
        figure = draw()
        contents = {}
        for kind, note in (("png", {"Software": None}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=note)
            contents[kind] = buffer.getvalue()
        plt.close(figure)
    return contents


def device_figure(data: Any, name: str) -> "Figure":
    """Programming error, drift, read noise and trajectories of a device.

    Args:
        data: mapping with the arrays of `device_curves`.
        name: of the device, for the title.
    """
    import matplotlib.pyplot as plt

    curves = {n: np.asarray(data[n]) for n in _CURVES}
    g, t = curves["conductance"], curves["device_time"]
    figure, axes = plt.subplots(2, 2, figsize=(8, 5.6))
    (top, drift), (read, path) = axes
    top.plot(g, curves["programming_sd"], color=OPTIMIZED, label="standard deviation")
    top.plot(g, curves["programming_bias"], "--", color="#D55E00", label="mean error")
    top.set(title="Programming error", xlabel="target (µS)", ylabel="error (µS)")
    top.legend()
    start = curves["drift_mean"][:, 0]
    for instant, color in zip(_instants(t), COLORS[1:], strict=False):
        label = human(instant)
        if instant > t[0]:
            lost = _at(curves["drift_mean"], t, instant) - start
            drift.plot(g, lost, color=color, label=label)
        read.plot(g, _at(curves["read_sd"], t, instant), color=color, label=label)
    drift.set(
        title=f"Mean change since {human(t[0])}",
        xlabel="target (µS)",
        ylabel="change (µS)",
    )
    read.set(title="Read noise", xlabel="target (µS)", ylabel="sd of a read (µS)")
    _trajectories(path, g, t, curves)
    for axis in (drift, read):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(ncols=2)
    figure.suptitle(f"Device: {name}", fontsize=11)
    return figure


def strategy_figure(
    data: "xr.Dataset",
    strategies: Mapping[str, Strategies],
    *,
    same_range: bool = True,
) -> "Figure":
    """Targets of every strategy over the density of the weights.

    Args:
        data: has the density.
        strategies: by the titles of their panels.
        same_range: whether all are of one device.
    """
    import matplotlib.pyplot as plt

    columns = min(3, len(strategies))
    rows = -(-len(strategies) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(2.9 * columns + 0.6, 2.5 * rows + 0.7),
        sharex=True,
        sharey=same_range,
        squeeze=False,
    )
    weight, share = data["weight"].values, data["weight_share"].values
    for axis in axes.flat[len(strategies) :]:
        axis.set_axis_off()
    for axis, (label, value) in zip(axes.flat, strategies.items(), strict=False):
        behind = axis.twinx()
        behind.fill_between(weight, share, color="#DDDDDD", step="mid", lw=0)
        behind.set(yticks=[], ylim=(0, 1.05 * share.max()))
        behind.spines["right"].set_visible(False)
        axis.set_zorder(behind.get_zorder() + 1)
        axis.patch.set_visible(False)
        layer, strategy = _representative(value)
        _targets(axis, strategy)
        axis.set_title(label + (f"\n{layer}" if layer else ""))
    for axis in axes[-1]:
        axis.set_xlabel("weight (w / w_max)")
    for axis in axes[:, 0]:
        axis.set_ylabel("target (µS)")
    handles = max((a.get_legend_handles_labels() for a in axes.flat), key=_length)
    figure.legend(*handles, loc="outside lower center", ncols=min(6, 2 * columns))
    return figure


def error_figure(data: "xr.Dataset") -> "Figure":
    """Weight error over time: expected as lines, measured with its spread as marks."""
    figure, axis = _single()
    x = places(data.time.values)
    for label in map(str, programmed(data).strategy.values):
        style, one = styles(data)[label], data.sel(strategy=label)
        measured = 100 * one.weight_rms_error
        line = {k: style[k] for k in ("color", "linestyle")}
        axis.plot(x, 100 * one.expected_rms_error, lw=1.4, **line)
        mean, sd = measured.mean("chip"), measured.std("chip")
        marks: Any = style | {"linestyle": "none"}
        axis.errorbar(x, mean, sd, capsize=2, label=label, **marks)
    axis.set(ylabel="rms weight error (% of w_max)", ylim=(0, None))
    time_axis(axis, data)
    _legend(axis, "marks: measured, mean ± sd over chips; lines: expected, exact")
    return figure


def metric_figure(data: "xr.Dataset") -> "Figure":
    """The metric over time, mean and band (sd over chips), and the digital network."""
    figure, axis = _single()
    name = data.attrs["metric"]
    show = shown(name)
    x = places(data.time.values)
    axis.axhline(
        show.factor * data.attrs["digital_metric"], color="black", lw=1, label=DIGITAL
    )
    for label, style in styles(data).items():
        values = show.factor * data[name].sel(strategy=label)
        mean, sd = values.mean("chip").values, values.std("chip").values
        banded(axis, x, mean, sd, label, style)
    axis.set(ylabel=f"{show.title} ({show.unit})")
    time_axis(axis, data)
    _legend(axis, "bands: ± standard deviation over chips")
    return figure


def banded(
    axis: "Axes",
    x: np.ndarray,
    mean: np.ndarray,
    half: np.ndarray,
    label: str,
    style: dict[str, Any],
) -> None:
    """A line of a strategy in a band of +- `half`."""
    color = style["color"]
    axis.fill_between(x, mean - half, mean + half, color=color, alpha=0.12, lw=0)
    axis.plot(x, mean, label=label, lw=1.4, **style)


def time_axis(axis: "Axes", data: "xr.Dataset") -> None:
    """A log axis of time with the ticks that people think in; 0 s has its place."""
    times = np.asarray(data.time.values)
    positive = times[times > 0]
    shown_times = times
    if times.size > 8:
        shown_times = np.array([*times[times == 0], *_instants(positive)])
    axis.set_xscale("log")
    axis.set_xticks(places(shown_times), [human(t) for t in shown_times])
    axis.minorticks_off()
    axis.set_xlabel("time after programming")
    outside = times[np.asarray(data["extrapolated"].values) > 0]
    if outside.size:
        axis.axvspan(
            places(outside)[0], places(times)[-1], color="#F0E442", alpha=0.25, lw=0
        )
        axis.annotate(
            "extrapolated",
            (places(outside)[0], 1),
            xycoords=("data", "axes fraction"),
            va="top",
            fontsize=8,
        )


_CURVES = (
    "conductance",
    "device_time",
    "programming_bias",
    "programming_sd",
    "drift_mean",
    "drift_sd",
    "read_sd",
)
_DEVICE_NAMES = ("G+", "G−", "g+", "g−")
_DEVICE_COLORS = ("#0072B2", "#D55E00", "#56B4E9", "#E69F00")


def _targets(axis: "Axes", strategy: Strategy) -> None:
    u = np.linspace(-1, 1, 401)
    targets = np.asarray(encode(strategy, jnp.asarray(u)))
    count = strategy.cell.devices
    style = "steps-mid" if strategy.stepped else "default"
    names = _DEVICE_NAMES[:count] if count <= 4 else [f"{i}" for i in range(count)]
    for i, name in enumerate(names):
        color = _DEVICE_COLORS[i % 4]
        dashes = "--" if strategy.cell.signs[i] < 0 else "-"
        axis.plot(
            u, targets[:, i], dashes, color=color, lw=1.5, label=name, drawstyle=style
        )
    f = np.asarray(strategy.significance)
    text = "" if f.size == 1 else "F = " + ", ".join(f"{v:.3g}" for v in f[:-1])
    axis.text(0.5, 1.0, text, transform=axis.transAxes, ha="center", va="top")
    axis.margins(y=0.12)


def _representative(value: Strategies) -> tuple[str, Strategy]:
    """The strategy itself, or that of the last layer where layers have their own."""
    if isinstance(value, Strategy):
        return "", value
    path = list(value)[-1]
    return path, value[path]


def _trajectories(
    axis: "Axes", g: np.ndarray, t: np.ndarray, curves: dict[str, np.ndarray]
) -> None:
    chosen = np.linspace(0, g.size - 1, 6).astype(int)[1:]
    sd = np.hypot(curves["drift_sd"], curves["read_sd"])
    x = t if t.size > 1 else np.array([0.5, 2.0])
    for i, color in zip(chosen, COLORS[1:], strict=False):
        mean, spread = (
            np.broadcast_to(c[i], x.shape) for c in (curves["drift_mean"], sd)
        )
        axis.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.2, lw=0)
        axis.plot(x, mean, color=color, label=f"{g[i]:.3g} µS")
    axis.set(title="Conductance as read, mean ± sd", ylabel="conductance (µS)")
    axis.set_xscale("log")
    ticks = _instants(t)
    axis.set_xticks(ticks if t.size > 1 else [1.0], [human(v) for v in ticks])
    axis.minorticks_off()
    axis.set_xlabel("time after programming")


def _instants(t: np.ndarray) -> list[float]:
    """Times that people think in, within what `t` covers; its ends if there is none."""
    low, high = t[0] * (1 - 1e-6), t[-1] * (1 + 1e-6)
    wanted = [v for v in UNITS.values() if low <= v <= high and v not in _SKIPPED]
    return wanted if len(wanted) > 1 else sorted({float(t[0]), float(t[-1])})


_SKIPPED = (UNITS["min"], UNITS["week"])


def _at(curves: np.ndarray, t: np.ndarray, instant: float) -> np.ndarray:
    """Curves `[g t]` at one time, linear in log t."""
    if t.size == 1:
        return curves[:, 0]
    x = np.log(t)
    return np.array([np.interp(np.log(instant), x, row) for row in curves])


def places(times: np.ndarray) -> np.ndarray:
    """Places on a log axis: 0 s is put a decade and a half before 1 s."""
    return np.where(times > 0, times, 0.03)


def styles(data: "xr.Dataset") -> dict[str, dict[str, Any]]:
    """Color, marker and dashes of every strategy but the digital network."""
    labels = [str(s) for s in data.strategy.values if s != DIGITAL]
    hand = [c for c in COLORS if c != OPTIMIZED]
    styles = {}
    for i, label in enumerate(labels):
        way = data.sel(strategy=label)
        found = way.family == "optimized"
        first = found and OPTIMIZED not in str(styles)
        dashes = ("-.", ":") if way.trained else ("-", "--")
        styles[label] = {
            "color": OPTIMIZED if first else hand[i % len(hand)],
            "marker": _MARKERS[i % len(_MARKERS)],
            "linestyle": dashes[0] if found else dashes[1],
            "markersize": 4 if found else 6,
            "markerfacecolor": None if found else "white",
        }
        if way.family == DIGITAL:
            styles[label] = {"color": "black", "linestyle": "--"}
    return styles


def _single() -> tuple["Figure", "Axes"]:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(7.2, 4.2))


def _legend(axis: "Axes", note: str) -> None:
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    axis.text(
        0,
        1.02,
        note,
        transform=axis.transAxes,
        fontsize=8,
        color="#555555",
        va="bottom",
    )


def _length(handles: tuple[list, list]) -> int:
    return len(handles[1])
