"""The configs of the paper's figure are valid, and a slice of each runs to the end."""

from pathlib import Path

import numpy as np
import pytest
import shared

from anajax.studies import run
from anajax.studies.config import load_config
from anajax.studies.overview import write_overview
from anajax.studies.report import write_report

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs" / "paper").glob("*.yaml"))
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
    assert labels[0] == "single_pair" and labels[-1] == "targets" and len(labels) == 8
    assert sum(e.trained for e in config.strategies) == 2
    assert (config.periphery.dac_bits, config.periphery.adc_bits) == (8, 8)


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_slice_of_each_runs_to_a_report(path, tmp_path):
    items = 16
    config = load_config(path, [*SLICE, f"workload.items={items}"])
    try:
        study = run.prepare(config, out=tmp_path / "a", data=shared.ROOT / "data")
    except (FileNotFoundError, ModuleNotFoundError) as error:
        pytest.skip(f"no data for it here: {error}")
    data = run.run(study)
    metric = data[data.attrs["metric"]]
    assert metric.shape == (1, 4, 2, 2) and np.all(np.isfinite(metric))
    assert data.sizes["item"] == items
    assert write_report(tmp_path / "a").is_file()
    assert len(write_overview([tmp_path / "a"], tmp_path / "o")) == 3
