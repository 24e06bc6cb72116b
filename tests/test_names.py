"""Figures show names that people read, and few lines."""

import numpy as np
import pytest
import xarray as xr

from anajax import devices, workloads
from anajax.studies import names
from anajax.studies.kinds import strategies_figures as lines
from anajax.studies.report import plots
from anajax.studies.ways import catalog


def test_what_this_package_has_is_named():
    assert set(workloads.names()) <= set(names.NETWORKS)
    made = {make().name for make in devices.presets().values()}
    assert made | set(devices.presets()) <= set(names.DEVICES)
    own = [name for name, way in catalog.ways().items() if way in catalog.WAYS]
    assert set(own) == set(names.PROGRAMS)
    for table in (names.NETWORKS, names.DEVICES, names.PROGRAMS):
        assert not [said for said in table.values() if "_" in said]
    assert names.program("optimized", trained=True) == (
        "least weight error, trained weights"
    )
    assert names.program("my_own", trained=True) == "my own"


def results(**values):
    """Results of one device at 1 s and 1 h: mean accuracy of four chips, by label."""
    family = {"optimized": "optimized", "targets": "optimized", "digital": "digital"}
    family["recommended"] = "optimized"
    values = {"digital": [0.9, 0.9]} | values
    around = np.array([-0.03, -0.01, 0.01, 0.03])[:, None]
    metric = np.array([[np.asarray(v) + around for v in values.values()]])
    return xr.Dataset(
        {"accuracy": (("device", "strategy", "chip", "time"), metric)},
        coords={
            "device": ["pcm_hermes_1"], "strategy": list(values), "time": [1.0, 3600.0],
            "family": ("strategy", [family.get(s, "hand") for s in values]),
            "trained": ("strategy", [False] * len(values)),
            "extrapolated": (("device", "time"), np.zeros((1, 2))),
        },
        attrs={
            "metric": "accuracy", "better": "higher", "digital_metric": 0.9,
            "unit": "1", "workload": "digits", "stop_at_se": 0.0,
            "config": '{"optimizer": {"objective": "weight"}}',
        },
    )  # fmt: skip


HAND = {"single_pair": [0.5, 0.4], "lsp_first": [0.7, 0.7], "msp_first": [0.8, 0.5]}


def test_by_hand_there_is_one_line_beside_optimized_ones():
    data = results(**HAND, optimized=[0.8, 0.8])
    assert lines.programs(lines.of_device(data, "pcm_hermes_1")) == {
        "single_pair": "single pair", "lsp_first": "best by hand",
        "optimized": "least weight error",
    }  # fmt: skip
    assert lines.caption(data).split("; ")[1] == "best by hand: lsp_first"
    swapped = HAND | {"msp_first": [0.9, 0.9]}
    data, other = (results(**h, optimized=[0.8, 0.8]) for h in (HAND, swapped))
    for more, said in (
        (data, "best by hand: lsp_first"),
        (other, "best by hand on pcm_hermes_1: lsp_first; best by hand on pcm: msp"),
    ):
        both = xr.concat([data, more.assign_coords(device=["pcm"])], "device")
        assert said in lines.caption(both)
    alone = lines.programs(lines.of_device(results(**HAND), "pcm_hermes_1"))
    assert list(alone) == list(HAND) and "best by hand" not in alone.values()


def test_the_figure_says_what_where_and_how_sure():
    data = results(
        **HAND, optimized=[0.8, 0.8], targets=[0.9, 0.85], recommended=[0.9, 0.85]
    )
    figure = lines.metric_figure(data)
    (axis,) = figure.axes
    assert axis.get_title("left") == ("Handwritten digits, small CNN, on HERMES PCM")
    said = [text.get_text() for text in axis.texts]
    assert "4 chips; mean ± standard error over chips" in said
    assert "85.0  learned targets (recommended)" in said and "90.0  digital" in said
    assert not figure.legends and len(said) == 6
    drawn = dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
    (bars,) = drawn["best by hand"].lines[2]
    low, high = bars.get_segments()[0][:, 1]
    error = 100 * np.std([-0.03, -0.01, 0.01, 0.03], ddof=1) / 2
    assert (low, high) == pytest.approx((70 - error, 70 + error))


def test_names_at_the_ends_of_lines_do_not_cover_each_other():
    places = plots.apart(np.array([0.1, 0.97, 0.98, 0.99]), 0.05)
    assert places[0] == 0.1 and np.all(np.diff(places) >= 0.05 - 1e-6)
    assert places[-1] <= 1
