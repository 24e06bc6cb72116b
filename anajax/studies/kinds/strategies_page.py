"""The report of a strategy study: one network on one device or many."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from anajax.chip import Strategies
from anajax.mapping.strategy import Strategy, full_scale
from anajax.studies import names
from anajax.studies.kinds import strategies_figures as lines
from anajax.studies.kinds import tolerance
from anajax.studies.kinds.strategies_best import ranking, sentences
from anajax.studies.report import assumptions as assumed
from anajax.studies.report import costs, figures
from anajax.studies.report.blocks import (
    WEIGHT_ERROR,
    Block,
    Cell,
    Drawing,
    cells,
    format_of,
    in_units,
    table,
)
from anajax.studies.report.statistics import (
    DIGITAL,
    gains,
    lost,
    over,
    programmed,
    sign,
    strategies,
    taken,
)


def title(data: xr.Dataset) -> str:
    """Title of the report."""
    return names.upper(names.place(data))


def blocks(data: xr.Dataset, tables: Mapping[str, Strategies]) -> list[Block]:
    """Tables with their figures."""
    return [
        _metric(data),
        *_best(data),
        *_gains(data),
        _lost(data),
        *tolerance.blocks(data),
        _weight_error(data),
        *costs.blocks(data),
        *_strategies(data, tables),
        *_device(data),
    ]


def assumptions(data: xr.Dataset) -> list[str]:
    """Limits and assumptions behind the numbers."""
    return [
        *assumed.sources(data),
        *assumed.hardware(data),
        "Searches for tables minimize the expected weight error averaged over the "
        "times, not the metric: if they clip rare large weights, the metric can get "
        "worse.",
        "Standard errors of means are over chips, for these test items; they do not "
        "say how the metric would vary with other items.",
        *_training(assumed.config_of(data)),
        *costs.assumptions(data),
    ]


def _training(config: dict[str, Any]) -> list[str]:
    if not config["training"]:
        return []
    goal = {
        "digital": "by distillation from the digital network",
        "labels": "on the labels of the training split",
    }[config["training"].pop("goal")]
    options = config["training"].items()
    said = ", ".join(f"{k} {v}" for k, v in options if v is not None)
    behind = " and the converters" if config["periphery"] else ""
    return [
        f"Trained weights: hardware-aware training {goal} with the noise of the "
        f"device{behind} ({said}); weight errors are relative to the trained weights."
    ]


# --- tables ---------------------------------------------------------------------------


def _metric(data: xr.Dataset) -> Block:
    show, count, notes = format_of(data), taken(data), None
    if data.attrs["stop_at_se"]:
        notes = xr.apply_ufunc(lambda n: np.char.add(n.astype(str), " chips"), count)
    found = over(data[data.attrs["metric"]])
    found["error"] = found["error"].where(data.family != DIGITAL)
    if data.sizes["device"] > 1:
        found = found.drop_sel(strategy=DIGITAL)
    title, best = show.title.capitalize(), ranking(data)["best"]
    return Block(
        title=f"{title}{in_units(show.unit)}",
        text="Mean over chips ± standard error of that mean"
        + ", at the times that the source of each device covers"
        * (data.sizes["device"] > 1)
        + f"; bold: the best mean at each time.{assumed.stopping(data, 'strategy')}",
        **table(found, show, notes=notes, best=best),
        points=sentences(data, show),
        drawings=[
            Drawing(
                data.attrs["metric"],
                f"{title} over time, {lines.ERRORS}. {lines.caption(data)}",
                partial(lines.metric_figure, data),
                alt=f"{show.label} over time after programming, a line for "
                f"each program; the numbers are in the table above.",
                dark=True,
            )
        ],
        summary=True,
    )


def _best(data: xr.Dataset) -> list[Block]:
    """For each device the strategy of the best metric, averaged over its times."""
    if data.sizes["device"] == 1:
        return []
    show = format_of(data)
    found = over(programmed(data)[data.attrs["metric"]].mean("time"))
    best = (sign(data) * found["value"]).argmax("strategy")
    rows = []
    for device in map(str, found.device.values):
        one = found.sel(device=device).isel(strategy=int(best.sel(device=device)))
        cell = show.cell(float(one["value"]), float(one["error"]))
        rows.append(cells(device, str(one.strategy.item()), cell))
    return [
        Block(
            title="Best strategy of each device",
            text="Chosen by the mean over times and chips, on these same chips; "
            "differences below the standard errors do not rank strategies.",
            header=["device", "strategy", f"mean{in_units(show.unit)}"],
            rows=rows,
        )
    ]


def _gains(data: xr.Dataset) -> list[Block]:
    """Optimized strategies against the best hand strategy, with a verdict."""
    show, made = format_of(data), []
    for trained in (False, True):
        found = gains(data, trained=trained)
        if found is None:
            continue
        made.append(
            Block(
                title="Optimized minus the best hand-designed strategy"
                f"{', all on trained weights' * trained}{in_units(show.points)}",
                text="Paired: chip by chip with the same random draws, mean ± standard "
                "error. The hand-designed strategy is the best one at each time on "
                "these same chips.",
                **_with_best(found, table(found, show, signed=True)),
                points=_verdicts(found, show.sign),
                summary=True,
            )
        )
    return made


def _with_best(found: xr.Dataset, made: dict[str, Any]) -> dict[str, Any]:
    """A table with rows that name the best hand strategies."""
    there = found["value"].notnull().any("strategy")
    best = found["best"].where(there, "")
    for device in found.device.values:
        labels = map(str, best.sel(device=device).values)
        head = ["best hand-designed strategy", *labels]
        head = [str(device)] * (found.sizes["device"] > 1) + head
        made["rows"].append(cells(*head))
    return made


def _verdicts(found: xr.Dataset, better: int) -> list[str]:
    said = []
    for device in found.device.values:
        for label in found.strategy.values:
            one = found.sel(device=device, strategy=label)
            name = f"{device}: {label}" if found.sizes["device"] > 1 else str(label)
            said.append(f"{name}: {verdict(one, better)}")
    return said


def verdict(one: xr.Dataset, better: int) -> str:
    """Number of times at which differences exceed two standard errors, and their sign.

    Args:
        one: `value` and `error` over time, NaN where missing.
        better: 1 if more is better, -1 if less is.
    """
    value, error = one["value"], one["error"]
    clear = np.abs(value) > 2 * error
    ahead = int((clear & (better * value > 0)).sum())
    behind = int((clear & (better * value < 0)).sum())
    times = int(value.notnull().sum())
    return (
        f"by two standard errors, better at {ahead}, worse at {behind}, and not "
        f"distinguishable at {times - ahead - behind} of {times} times."
    )


def _lost(data: xr.Dataset) -> Block:
    show = format_of(data)
    return Block(
        title=f"Loss relative to the digital network{in_units(show.points)}",
        text="On the same test items, ± standard error of the mean over chips and of "
        "the paired difference over items together; bold: the lowest.",
        **table(
            lost(data).drop_sel(strategy=DIGITAL), show, best=ranking(data)["best"]
        ),
    )


def _weight_error(data: xr.Dataset) -> Block:
    some = programmed(data)
    found = over(some.weight_rms_error).assign(aside=some.expected_rms_error)
    return Block(
        title="Weight error (rms, % of w_max)",
        text="Measured mean over chips ± standard error; in parentheses the exact "
        "expectation, which the optimizer minimizes (a closed loop has none).",
        **table(found, WEIGHT_ERROR),
        drawings=[
            Drawing(
                "weight_error",
                "Weight error over time",
                partial(lines.error_figure, data),
            )
        ],
    )


def _strategies(data: xr.Dataset, tables: Mapping[str, Strategies]) -> list[Block]:
    """F and K of every strategy, the share of clipped weights, and the targets."""
    if not tables:
        return []
    known, many = strategies(data), data.sizes["device"] > 1
    drawn = {
        name: value
        for name, value in tables.items()
        if not many or known[name.split("/")[-1]][0] == "optimized"
    }
    drawing = Drawing(
        "strategies",
        "Target conductances, and the distribution of the weights (gray)",
        partial(figures.strategy_figure, data, drawn),
    )
    return [
        Block(
            title="Strategies",
            text="All targets, with units, are in strategy.json. Above "
            "K / K_max = 1 the largest weights are clipped."
            f"{_without_table(data, tables)}",
            header=["strategy", "layers", "F", "K / K_max", "weights clipped"],
            rows=[row for item in tables.items() for row in _numbers(data, *item)],
            drawings=[drawing] if drawn else [],
        )
    ]


def _numbers(data: xr.Dataset, name: str, value: Strategies) -> list[list[Cell]]:
    """Rows of the strategies of one program."""
    device, _, label = name.rpartition("/")
    one = data.sel(device=device) if device else data.isel(device=0)
    if isinstance(value, Strategy):
        relative, clipped = _scale(one, value)
        return [cells(name, "all", _factors(value), relative, clipped)]
    return [
        cells(name, layer, _factors(strategy), _scale(one, strategy)[0], "–")
        for layer, strategy in value.items()
    ]


def _factors(strategy: Strategy) -> str:
    factors = np.asarray(strategy.significance)[:-1]
    return ", ".join(f"{f:.3g}" for f in factors) or "–"


def _scale(one: xr.Dataset, strategy: Strategy) -> tuple[str, str]:
    """K relative to the full range, and the share of weights beyond the last knot."""
    span = float(one.range_high - one.range_low)
    relative = float(strategy.scale) / float(full_scale(strategy, span))
    clipped = 0.0
    if relative > 1 + 1e-6:
        last = 1.0 if strategy.stepped else float(strategy.knots[-1])
        beyond = np.abs(one.weight.values) > min(last, 1 / relative + 1e-9)
        clipped = float(one.weight_share.values[beyond].sum())
    return f"{relative:.3f}", f"{100 * clipped:.1f} %"


def _without_table(data: xr.Dataset, tables: Mapping[str, Strategies]) -> str:
    there = {name.split("/")[-1] for name in tables}
    others = [str(s) for s in programmed(data).strategy.values if str(s) not in there]
    if not others:
        return ""
    return (
        f" No table over weights describes {', '.join(others)}: they are learned, or "
        "measure while they program. Learned targets are in the folder `targets`, as "
        "safetensors."
    )


def _device(data: xr.Dataset) -> list[Block]:
    """The curves of a device that is alone."""
    if "device_time" not in data:
        return []
    name = str(data.device.values[0])
    draw = partial(figures.device_figure, data, name)
    drawing = Drawing("device", "Curves of the device model", draw)
    source = str(data.device_source.values[0])
    return [Block(title="Device", text=source, drawings=[drawing])]
