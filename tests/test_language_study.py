"""Studies of language models: drawn again, objectives of outputs, and forecasts."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study
from jax.sharding import Mesh
from typer.testing import CliRunner

from anajax import chip, cli, devices
from anajax.analysis.metrics import IGNORE, cross_entropy
from anajax.analysis.workload import Workload
from anajax.chip import path_name
from anajax.mapping import hand
from anajax.programming import strategy_file
from anajax.studies import forecast, run
from anajax.studies.config.workload import WorkloadSection
from anajax.studies.load import validate
from anajax.studies.ways import site
from anajax.workloads.language import Llama

NET = Llama(layers=2, width=32, inner=32, heads=4, kv_heads=4, vocabulary=17)
"""All matrices of one shape: one trace."""
CONFIG = {
    "study": "strategies", "workload": {"name": "digits", "items": 4},
    "device": {"name": "pcm"}, "times": ["1 h", "1 month"], "chips": 2,
    "normalize": "tile", "periphery": {"rows": 16},
    "optimizer": {"objective": "output", "per_layer": True},
    "strategies": [
        {"name": "lsp_first", "f": [2]},
        {"name": "pairs_per_layer", "pairs": 3, "items": 2},
    ],
}  # fmt: skip


def language_model():
    random = np.random.default_rng(0)
    x = jnp.asarray(random.integers(0, 17, (8, 12)))
    y = jnp.pad(x[:, 1:], ((0, 0), (0, 1)), constant_values=IGNORE)
    return Workload(
        name="tiny", modality="text", params=NET.init(jax.random.key(0)),
        apply=NET.logits, digital="embed", x=x[:4], y=y[:4], calibration=x[4:],
        metric="log_perplexity", better="lower", metric_fn=cross_entropy,
        loss_fn=cross_entropy, source={"data": "drawn", "split": "", "weights": ""},
        batch=2,
    )  # fmt: skip


WORK = language_model()
WORK_SIZES = {path_name(path): w.size for path, w in
              jax.tree_util.tree_flatten_with_path(WORK.params)[0]}  # fmt: skip


def study(out, **changes):
    prepared = run.prepare(validate(CONFIG | changes), out=out)
    return run.run(prepared)


def finite_gaps(found):
    gaps = found["log_perplexity"] - found["digital_item_log_perplexity"].mean()
    return np.all(np.isfinite(gaps)) and np.any(np.abs(gaps) > 1e-4)


def test_a_language_model_goes_through_a_study(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "load", lambda name, **kwargs: WORK)
    monkeypatch.setattr(site, "BUDGET", 0)
    way = {"name": "lsp_first", "f": [2]}
    assert finite_gaps(study(tmp_path / "a", strategies=[way], times=["1 month"]))


@pytest.mark.slow
def test_pairs_by_layer_keep_their_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "load", lambda name, **kwargs: WORK)
    assert finite_gaps(study(tmp_path / "a"))
    tables = strategy_file.load_strategies(tmp_path / "a" / strategy_file.FILE)
    own = tables["pairs_per_layer"]
    sizes = {path: WORK_SIZES[path] for path in own}
    pairs = sum(sizes[p] * way.cell.devices / 2 for p, way in own.items())
    assert 2.5 * sum(sizes.values()) < pairs <= 3 * sum(sizes.values())


@pytest.mark.slow
def test_chips_drawn_again_in_a_study_are_those_kept(tmp_path, monkeypatch):
    tiny_study.use(monkeypatch)
    changes = {"strategies": ["lsp_first"]}  # one pair is padded where cells are kept
    kept = run.run(tiny_study.prepared(tmp_path / "kept", **changes))
    monkeypatch.setattr(site, "BUDGET", 0)
    again = run.run(tiny_study.prepared(tmp_path / "again", **changes))
    for name in ("accuracy", "weight_rms_error"):
        np.testing.assert_allclose(kept[name], again[name], atol=2e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"compensation": {"recalibrate": ["1 h"]}}, "compensation.recalibrate"),
        ({"compensation": {"through": "periphery"}}, "compensation.through"),
        ({"mesh": ("chips",)}, "mesh"),
    ],
)
def test_large_chips_refuse_what_needs_their_cells(tmp_path, monkeypatch, change, said):
    tiny_study.use(monkeypatch)
    monkeypatch.setattr(site, "BUDGET", 0)
    change = dict(change)
    mesh = Mesh(jax.devices()[:1], change.pop("mesh")) if "mesh" in change else None
    config = validate(tiny_study.CONFIG | {"strategies": ["single_pair"]} | change)
    with pytest.raises(ValueError, match=f"`{said}` must keep the cells"):
        run.prepare(config, out=tmp_path / "a", mesh=mesh)
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_pairs_by_layer_do_not_depend_on_the_objective_of_searches(
    tmp_path, monkeypatch
):
    """Loss is told by outputs in any case: the same choice, the same chips."""
    monkeypatch.setattr(run, "load", lambda name, **kwargs: WORK)
    way = {"name": "pairs_per_layer", "pairs": 3, "items": 2}
    found = [
        study(tmp_path / f"{i}", strategies=[way], optimizer=options)
        for i, options in enumerate(({}, CONFIG["optimizer"]))
    ]
    kept = [(tmp_path / f"{i}" / strategy_file.FILE).read_bytes() for i in range(2)]
    assert kept[0] == kept[1]
    np.testing.assert_array_equal(*(f["log_perplexity"] for f in found))


def test_layers_without_targets_say_what_to_do():
    way = hand.lsp_first(devices.pcm())
    weights = {"w": jnp.ones((3, 2))}
    layers = chip.unwritten(weights, way, select=lambda *_: True)
    with pytest.raises(ValueError, match=r"have targets: got \(3, 2\).*layer.of"):
        chip.program(devices.pcm(), layers, key=jax.random.key(0))


def test_a_forecast_takes_a_network_of_ones_own(monkeypatch):
    monkeypatch.setattr(run, "workload_of", lambda section, data: WORK)
    monkeypatch.setattr(forecast, "SIDE", 32)
    own = {"python": "my_net.py:load"}
    section = WorkloadSection.model_construct(**own)
    config = validate(CONFIG).model_copy(update={"workload": section})
    assert forecast.forecast(config).weights == 2 * 7 * 32 * 32


def test_a_forecast_counts_devices_and_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "load", lambda name, **kwargs: WORK)
    monkeypatch.setattr(forecast, "SIDE", 32)
    found = forecast.forecast(validate(CONFIG))
    block = 7 * 32 * 32
    assert found.weights == 2 * block
    assert found.devices == 2 * block * 6
    assert found.read_outs == 2 * 2 * 2
    assert found.drawing > 0 and found.network > 0 and not found.redrawn
    assert found.preparing > forecast.REPORT + found.drawing / 4  # of 2 x 2 chips
    assert found.seconds > found.preparing + found.drawing


def test_the_command_takes_the_shapes_of_a_larger_network(tmp_path, monkeypatch):
    monkeypatch.setattr(forecast, "SIDE", 32)
    large = {
        "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096,
        "intermediate_size": 11008, "num_attention_heads": 32, "vocab_size": 32000,
        "rms_norm_eps": 1e-5,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(large))
    (tmp_path / "study.yaml").write_text(json.dumps(CONFIG))
    paths = [str(tmp_path / name) for name in ("study.yaml", "config.json")]
    said = CliRunner().invoke(cli.app, ["plan", paths[0], "--sizes", paths[1]])
    assert said.exit_code == 0, said.output
    assert "6,607,077,376 on" in said.output  # with a head of its own
    assert "again at each time" in said.output
