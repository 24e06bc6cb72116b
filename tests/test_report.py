import re

import numpy as np
import pytest
import tiny_study
import xarray as xr

from anajax import devices
from anajax.devices.report import device_curves, time_grid
from anajax.studies import names, run
from anajax.studies.kinds import strategies_best as best
from anajax.studies.kinds import strategies_figures as lines
from anajax.studies.kinds import strategies_page, sweep_page, tolerance
from anajax.studies.kinds.costs import pareto_page
from anajax.studies.load import validate
from anajax.studies.report import figures, plots, report, results, statistics
from anajax.studies.report.blocks import Block, Drawing, format_of, table


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    with pytest.MonkeyPatch.context() as patch:
        tiny_study.use(patch)
        run.run(tiny_study.prepared(out))
    report.write_report(out)
    return out


def test_figures_are_png_and_svg_with_units(reported):
    names = {p.name for p in (reported / "figures").iterdir()}
    stems = {"device", "strategies", "weight_error", "accuracy"}
    files = {f"{s}.{k}" for s in stems for k in ("png", "svg")}
    assert names == files | {"accuracy_dark.png"}
    for path in (reported / "figures").glob("*.png"):
        assert path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 10_000


def test_page_is_one_file_with_the_numbers_of_the_results(reported):
    html = (reported / "report.html").read_text()
    assert html.count("data:image/svg+xml;base64,") == 4
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    data = results.read_results(reported)
    found = 100 * statistics.over(data.accuracy.sel(strategy="lsp_first")).isel(time=1)
    assert f"{found['value'].item():.2f}" in html
    assert f"± {found['error'].item():.2f}" in html
    gain = 100 * statistics.gains(data, trained=False)["value"].values.ravel()
    assert f"{gain[0]:+.2f}" in html
    for text in (
        "Optimized minus the best hand-designed strategy",
        "Assumptions",
        "jax 0.",
    ):
        assert text in html


def test_report_names_a_changed_file(reported):
    path = reported / "figures" / "accuracy.png"
    content = path.read_bytes()
    path.write_bytes(content[:100])
    with pytest.raises(ValueError, match="accuracy.png` must be as the study wrote it"):
        report.write_report(reported)
    path.write_bytes(content)


def test_extrapolated_times_are_marked(reported):
    data = results.read_results(reported)
    assert report.warnings(data) == []
    data["extrapolated"][0, -1] = 1
    (warning,) = report.warnings(data)
    assert warning.startswith("Extrapolated") and "1 month" in warning
    plain = report.html(title="", lead="", warnings=[], blocks=[], drawn={})
    assert b"extrapolated" not in plain


@pytest.mark.parametrize(
    ("difference", "better", "text"),
    [
        ([0.1, 0.0], 1, "better at 1, worse at 0"),
        ([0.1, 0.0], -1, "better at 0, worse at 1"),
        ([-0.1, -0.1, np.nan], 1, "better at 0, worse at 2, and not .* 0 of 2 times"),
    ],
)
def test_verdict_counts_clear_differences(difference, better, text):
    gain = xr.Dataset({"value": ("time", difference), "error": 0.01})
    assert re.search(text, strategies_page.verdict(gain, better))


def ranked(values, better="higher"):
    """Results of one device: a metric `[strategy chip time]`."""
    names = [f"s{i}" for i in range(len(values))]
    dims = ("device", "strategy", "chip", "time")
    data = xr.Dataset(
        {
            "accuracy": (dims, np.asarray(values, float)[None]),
            "item_accuracy": (
                ("device", "strategy", "time", "item"),
                np.full((1, len(values), 2, 3), 0.9),
            ),
            "digital_item_accuracy": ("item", np.full(3, 0.95)),
            "family": ("strategy", ["hand"] * len(values)),
            "trained": ("strategy", [False] * len(values)),
        },
        coords={"device": ["d"], "strategy": names, "time": [1.0, 3600.0]},
        attrs={
            "metric": "accuracy",
            "better": better,
            "digital_metric": 0.95,
            "unit": "1",
        },
    )
    return data.set_coords(("family", "trained"))


def test_the_best_by_the_data_is_bold_and_ties_are_said():
    """Ties are judged chip by chip: what chips share does not blur them."""
    chips = np.array([[0.2, 0.0], [-0.2, 0.0], [0.1, 0.0], [-0.1, 0.0]])
    noise = 0.02 * np.array([[1, 0], [-1, 0], [-1, 0], [1, 0]])
    data = ranked([0.7 + chips, 0.69 + chips + noise, 0.65 + chips])
    found = best.ranking(data)
    assert found["best"].values[0].tolist() == [[True, True], [False] * 2, [False] * 2]
    assert found["tied"].values[0].tolist() == [[False] * 2, [True, False], [False] * 2]
    show = format_of(data)
    (said,) = best.sentences(data, show)
    assert said.startswith("Best accuracy by the data: s0 at all times. Within one")
    assert "chip by chip: s1 at 1 s. At 1 h, s0 loses 25.00 ± 0.00 percentage" in said
    rows = table(statistics.over(data.accuracy), show, best=found["best"])["rows"]
    assert [[c.bold for c in row[1:]] for row in rows] == [[True] * 2] + 2 * [
        [False] * 2
    ]
    html = report.html(
        title="", lead="", warnings=[], drawn={},
        blocks=[Block(title="", header=["", "1 s"], rows=rows[:1])],
    )  # fmt: skip
    assert b'<td class="bold">70.00 <small>' in html and b'class="copy" hidden' in html
    less = best.ranking(ranked(-data.accuracy.values[0], better="lower"))
    assert less["best"].equals(found["best"])


def test_large_drawings_are_pixels_on_the_page():
    drawn = {"a.svg": b"<svg>" + b" " * report.LARGEST, "a.png": b"png"}
    block = Block(
        title="", drawings=[Drawing("a", "A figure", lambda: None, alt="What")]
    )
    html = report.html(title="", lead="", warnings=[], blocks=[block], drawn=drawn)
    assert b'alt="What" src="data:image/png;base64,' in html and len(html) < 20_000


def test_page_escapes_what_it_shows():
    asked = {"lead": "", "warnings": [], "drawn": {}}
    block = Block(title="&", text="`a < b` is code, as is `c`", points=["a `b` c"])
    html = report.html(title="<b>", blocks=[block], **asked).decode()
    assert "&lt;b&gt;" in html and "<h2>&amp;</h2>" in html
    assert "<p><code>a &lt; b</code> is code, as is <code>c</code></p>" in html
    assert "<li>a <code>b</code> c</li>" in html


def test_keys_and_numbers_have_the_names_of_people():
    keys = ["device.noise.read", "periphery.adc_bits", "optimizer.learning_rate"]
    assert names.titles(keys) == ["read noise", "ADC", "learning rate"]
    assert names.titles(["optimizer.steps", "training.steps"])[0] == "optimizer.steps"
    assert [names.unit(key) for key in keys] == [" (factor)", " (bits)", ""]
    assert names.of_value("periphery.adc_bits", "ADC", "8") == "ADC 8 bits"
    for path, name in (
        ("device/drift/nu_mean/low", "drift: mean exponent, low"),
        ("device/programming/sd/coefficients/1",
         "programming: standard deviation, coefficient 1"),
        ("device/faults/stuck_high", "cells stuck at g_max"),
        ("device/drift/mean_scale", "mean drift"),
        ("periphery/adc/codes", "ADC: number of steps"),
        ("periphery/noise/sd", "output noise"),
        ("wires/row", "wires: row"),
    ):  # fmt: skip
        assert names.parameter(path) == name


def test_long_labels_of_axes_are_wrapped():
    words = "programming error, spread of drift, read noise (factor)"
    drawn = plots.panels([("", lambda _: None)] * 2, size=(3.2, 3.0), xlabel=words)
    assert "\n" in drawn.axes[0].get_xlabel()
    assert drawn.axes[0].get_xlabel().replace("\n", " ") == words
    own = plots.panels([("", lambda _: None)], ylabel="error (µS)\nband: ± 2 sd")
    assert own.axes[0].get_ylabel() == "error (µS)\nband: ± 2 sd"


def test_a_strategy_far_behind_is_named_and_does_not_set_the_range():
    data = ranked(
        np.broadcast_to(np.array([[0.9], [0.92], [0.2]])[..., None], (3, 2, 2))
    )
    one = statistics.of_device(data, "d")
    low, high = lines.focus(one)
    assert low == pytest.approx(95 - 1.15 * 1.5 * 5) and 95 < high < 98
    drawn = plots.panels([("", lambda axis: None)] * 2)
    lines.compare(drawn.axes[:2], [one, one])
    assert [axis.get_ylim() for axis in drawn.axes] == [(low, high)] * 2
    assert [text.get_text() for text in drawn.axes[0].texts] == ["s2: 20 ↓"]


def test_curves_of_a_device_are_its_moments():
    curves = device_curves(devices.pcm(), points=11, times=5)
    x = curves["conductance"] / 25
    top = 0.26348 + 1.9650 * x - 1.1731 * x**2
    np.testing.assert_allclose(curves["programming_sd"][3:], top[3:], rtol=2e-3)
    np.testing.assert_allclose(curves["programming_bias"][3:], 0, atol=2e-3)
    assert np.all(np.diff(curves["drift_mean"][5:], axis=1) < 0)
    assert curves["read_sd"].shape == (11, 5)


def test_times_of_curves_are_those_of_the_source():
    np.testing.assert_allclose(time_grid(devices.reram_wan(), 3)[[0, -1]], [1, 172800])
    assert time_grid(devices.reram_milo(), 3).tolist() == [0.0]


def test_programming_only_device_can_be_drawn():
    curves = device_curves(devices.reram_milo(), points=9)
    drawn = plots.render(lambda: figures.device_figure(curves, "reram_milo"))
    assert drawn["png"][:4] == b"\x89PNG" and b"<svg" in drawn["svg"]


@pytest.fixture(scope="module")
def memories(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    changes = {
        "study": "devices",
        "devices": [{"name": "state_independent"}, "reram_milo"],
        "times": ["0 s", "1 s"],
        "strategies": ["single_pair", "optimized"],
        "required": {"parameters": ["programming"], "factors": [1, 4], "gap": 0.1},
    }
    config = {k: v for k, v in tiny_study.CONFIG.items() if k != "device"} | changes
    with pytest.MonkeyPatch.context() as patch:
        tiny_study.use(patch)
        run.run(run.prepare(validate(config), out=out))
    report.write_report(out)
    return out


def test_devices_are_evaluated_at_their_own_times(memories):
    data = results.read_results(memories)
    assert data.accuracy.dims == ("device", "strategy", "chip", "time")
    milo = data.accuracy.sel(device="reram_milo", strategy="optimized")
    assert np.all(np.isnan(milo.sel(time=1.0))) and np.all(milo.sel(time=0.0) > 0.5)
    assert statistics.of_device(data, "reram_milo").sizes["time"] == 1
    assert data.range_high.sel(device="reram_milo") == 225


def test_devices_page_has_every_device_and_its_best_strategy(memories):
    html = (memories / "report.html").read_text()
    assert html.count("data:image/svg+xml;base64,") == 4 and len(html) < 2e6
    assert "Best accuracy on reram_milo by the data:" in html
    drawn = lines.metric_figure(results.read_results(memories))
    first, second = (axis.get_ylim() for axis in drawn.axes[:2])
    assert first == second
    narrow = drawn.axes[1].get_xlim()  # of one time: around it
    assert narrow[0] < 0.03 < narrow[1]
    for text in (
        "state_independent",
        "reram_milo",
        "Best strategy of each device",
    ):
        assert text in html
    assert "cells have few levels" not in html
    data = results.read_results(memories)
    one = statistics.of_device(data, "state_independent").accuracy.sel(
        strategy="optimized"
    )
    found = 100 * statistics.over(one).isel(time=0)
    assert f"{found['value'].item():.2f}" in html
    assert f"± {found['error'].item():.2f}" in html
    best = data.accuracy.sel(device="state_independent").drop_sel(strategy="digital")
    assert f"{100 * float(best.mean(('chip', 'time')).max()):.2f}" in html


def test_each_device_has_its_largest_tolerated_factors(memories):
    data = results.read_results(memories)
    dims = ("device", "required_strategy", "imperfection")
    assert data.largest_factor.dims == dims
    one = data.gap.sel(device="reram_milo", required_strategy="optimized")
    lost = statistics.lost(statistics.of_device(data, "reram_milo"))
    at_nominal = one.sel(factor=1.0, imperfection="programming").mean("chip")
    np.testing.assert_allclose(
        at_nominal, lost["value"].sel(strategy="optimized").item(), atol=1e-6
    )
    html = (memories / "report.html").read_text()
    assert "Device requirements" in html and "10 percentage points" in html


def test_page_says_which_memories_have_few_levels(memories):
    data = results.read_results(memories)
    data["levels"][1] = 2
    said = " ".join(strategies_page.assumptions(data))
    assert "reram_milo: cells have few levels" in said


def test_device_without_a_time_is_refused(tmp_path):
    config = {k: v for k, v in tiny_study.CONFIG.items() if k != "device"}
    config |= {"study": "devices", "devices": ["reram_milo"], "times": [1]}
    with pytest.raises(ValueError, match="`times` must have one in 0 to 0 s"):
        run.prepare(validate(config), out=tmp_path / "out")


def test_sweeps_and_sensitivities_say_what_can_be_concluded():
    values = 0.8 + np.array([[0.1, 0.1], [0.0, 0.02], [-0.1, 0.0]])[..., None]
    data = xr.Dataset(
        {
            "accuracy": (("point", "chip", "time"), values),
            "set:device.noise.read": ("point", [0.5, 1.0, 2.0]),
            "seconds": (("point", "time"), np.full((3, 1), 60.0)),
        },
        coords={"time": [60.0]},
        attrs={
            "metric": "accuracy", "better": "higher", "digital_metric": 0.95,
            "unit": "1", "keys": '["device.noise.read"]',
        },
    )  # fmt: skip
    (said,) = sweep_page._ends(data)
    assert said == (
        "Best accuracy by the data at 1 min: read noise × 0.5 (90.00 %); worst: read "
        "noise × 2 (75.00 %). They are 15.00 ± 5.00 percentage points apart, chip "
        "by chip."
    )
    three = data.accuracy.pad(chip=(0, 1), constant_values=0.7)
    three = three.where((three.point > 0) | (three.chip < 2))  # the best stopped early
    (said,) = sweep_page._ends(data.drop_vars("accuracy").assign(accuracy=three))
    assert said.endswith(
        "± 5.00 percentage points apart, chip by chip on the 2 chips of both."
    )
    assert sweep_page._with_units(["device.noise.read"]) == ["read noise (factor)"]
    limits = {
        "largest_factor": [3.0, 1.5],
        "largest_low": [1.6, 1.2],
        "largest_high": [4.0, 1.7],
    }
    found = xr.Dataset({k: ("imperfection", v) for k, v in limits.items()})
    found = found.assign_coords(title=("imperfection", ["read noise", "drift"]))
    (said,) = tolerance.least(found, [1, 0], "1 point")
    assert said == (
        "Least tolerated: drift, up to a factor of 1.50 (90 % interval 1.20 to 1.70). "
        "Intervals overlap with that of read noise."
    )
    found["largest_factor"] = ("imperfection", [3.0, 0.0])
    found = found.assign_coords(factor=[0.5, 1.0, 2.0])
    (said,) = tolerance.least(found, [1, 0], "1 point")
    assert said.startswith(
        "Least tolerated: drift: it costs more than 1 point already at 0.5, the "
        "smallest factor tested."
    )


def test_the_base_of_a_pareto_study_is_no_worse_than_itself():
    """Where nothing saves energy, the base is named as the one of lowest energy."""
    values = np.array([[0.9, 0.8], [0.89, 0.81]])[..., None]
    last = xr.Dataset(
        {
            "accuracy": (("point", "chip", "time"), values),
            "energy": ("point", [2e-5, 3e-5]),
            "part_energy": (("part", "point"), [[1e-5, 2e-5]]),
            "knob": ("point", ["base", "strategy"]),
            "turned": ("point", ["", "lsp_first"]),
        },
        coords={"time": [60.0], "part": ["array"]},
        attrs={"metric": "accuracy", "better": "higher", "unit": "1"},
    ).isel(time=0)
    _, lowest = pareto_page._conclusions(last)
    assert lowest.endswith("chip by chip: base, 20 pJ.")
    last["energy"] = ("point", [3e-5, 2e-5])
    _, lowest = pareto_page._conclusions(last)
    assert "chip by chip: strategy lsp_first, 20 pJ (-33 % relative" in lowest


def test_a_sweep_says_how_far_its_first_axis_may_go():
    """A loss of 1, 2, 4 points at 1, 2, 4: 3 points at 2 sqrt 2, and no interval."""
    reads, bits = np.repeat([1.0, 2.0, 4.0], 2), np.tile([4.0, 8.0], 3)
    lost = 0.01 * np.where(bits == 8, reads, 5 + reads)
    data = xr.Dataset(
        {
            "accuracy": (("point", "chip", "time"),
                         0.9 - np.broadcast_to(lost[:, None, None], (6, 3, 1))),
            "set:device.noise.read": ("point", reads),
            "set:periphery.adc_bits": ("point", bits),
            "seconds": (("point", "time"), np.full((6, 1), 60.0)),
        },
        coords={"time": [60.0]},
        attrs={
            "metric": "accuracy", "better": "higher", "digital_metric": 0.9,
            "unit": "1", "gap": 0.03, "keys": '["device.noise.read"]',
            "axes": '[[["device.noise.read"], 3], [["periphery.adc_bits"], 2]]',
        },
    )  # fmt: skip
    (block,) = sweep_page._limits(data)
    assert block.title == "Until the network has lost 3 percentage points of accuracy"
    assert block.header == ["ADC (bits)", "read noise (factor), up to", "90 % interval"]
    texts = [[cell.text for cell in row] for row in block.rows]
    assert texts == [["4", "none tested", "none tested"], ["8", "2.83", "2.83"]]
    assert sweep_page._limits(data.drop_attrs()) == []
    down = data.isel(point=[4, 5, 2, 3, 0, 1]).assign(accuracy=data.accuracy)
    (block,) = sweep_page._limits(down)
    assert block.header[1] == "read noise (factor), down to"
    assert block.rows[1][1].text == f"{4 * (1 / 2) ** 1.5:.3g}"
