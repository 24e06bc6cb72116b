"""The configs of the paper's figure are valid, and a slice of each runs to the end."""

from pathlib import Path

import numpy as np
import pytest
import shared

from anajax.studies import run
from anajax.studies.load import load_config
from anajax.studies.report.overview import write_overview
from anajax.studies.report.report import write_report
from anajax.workloads import images, minilm

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "configs" / "paper"
LANGUAGE = PAPER / "smollm2.yaml"
CONFIGS = sorted(set(PAPER.glob("*.yaml")) - {LANGUAGE})
SLICE = (
    "chips=2", "save_every=1", "optimizer.steps=5", "optimizer.starts=1",
    "training.steps=1", "training.batch=2", 'times=["1 s", "1 month"]',
    "devices=[pcm]",
    "strategies=[lsp_first, {name: optimized, label: hwa, trained: true}, "
    "{name: targets, learn: {steps: 1, batch: 2}}]",
)  # fmt: skip


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_configs_compare_what_the_paper_does(path):
    config = load_config(path)
    assert config.workload.name == path.stem
    assert [d.name for d in config.devices] == ["pcm", "pcm_hermes"]
    assert len(config.times) == 7 and config.times[-1] == 365 * 86400
    labels = [e.title for e in config.strategies]
    on_labels = config.training.goal == "labels"
    assert labels == [
        "single_pair", "lsp_first_f2", "lsp_first_f4", "lsp_first_tuned", "optimized",
        "trained_lsp_first", "trained_optimized", *["trained_digital"] * on_labels,
        "targets",
    ]  # fmt: skip
    assert [e.title for e in config.strategies if e.trained] == labels[5:-1]
    assert config.strategies[-1].learn.goal == config.training.goal
    assert (config.periphery.dac_bits, config.periphery.adc_bits) == (8, 8)
    assert config.normalize == "column"


def test_the_language_model_is_not_trained():
    config = load_config(LANGUAGE)
    assert config.workload.name == "smollm2" and config.workload.items >= 25
    assert [d.name for d in config.devices] == ["pcm", "pcm_hermes"]
    assert config.times[-1] == 365 * 86400 and config.chips >= 5
    assert config.normalize == "tile" and config.optimizer.record.objective == "output"
    assert not any(e.trained for e in config.strategies)


def require_data(name):
    """Skip where what a workload reads is not on this machine, and say what."""
    folders = {
        "kws": "speech_commands_test", "fsdd": "fsdd", "banking77": "banking77",
        "tinyshakespeare": "tinyshakespeare", "cifar10": images.CIFAR,
    }  # fmt: skip
    kind = name.split("_")[0]
    if kind in folders:
        shared.data(folders[kind])
    elif not images.FASHION_PACKAGE.is_dir():
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    if kind == "banking77":
        pytest.importorskip("tokenizers")
        pytest.importorskip(minilm.PACKAGE)


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_slice_of_each_runs_to_a_report(path, tmp_path):
    require_data(path.stem)
    items = 16
    config = load_config(path, [*SLICE, f"workload.items={items}"])
    study = run.prepare(config, out=tmp_path / "a", data=shared.ROOT / "data")
    data = run.run(study)
    metric = data[data.attrs["metric"]]
    assert metric.shape == (1, 4, 2, 2) and np.all(np.isfinite(metric))
    assert data.sizes["item"] == items
    assert write_report(tmp_path / "a").is_file()
    assert len(write_overview([tmp_path / "a"], tmp_path / "o")) == 7
