"""The arrays of small studies of every kind, bit for bit as they were recorded.

Draws are keyed by names, so a change that only moves or renames code changes no bit.
Bits hold for one processor and one version of jax: elsewhere the tests are skipped.
`python tests/test_golden.py` records anew.
"""

import hashlib
import json
import os
import platform
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_study

from anajax.studies import run
from anajax.studies.load import validate

RECORD = Path(__file__).with_name("golden.json")
WAYS = [
    "single_pair",
    "lsp_first_tuned",
    "optimized",
    {"name": "optimized", "label": "fisher", "importance": "fisher"},
    {"name": "closed_loop", "reads": 2},
    {"name": "product_descent", "descent": {"turns": 1, "vectors": 8}},
    {"name": "targets", "learn": {"parts": ["strategy", "weights"], "steps": 2}},
    {"name": "lsp_first", "label": "trained", "trained": True},
]
OPTIMIZER = {"starts": 1, "steps": 5, "knots": 5}
COMMON = {
    "workload": {"name": "digits"},
    "times": ["1 s", "1 month"],
    "chips": 2,
    "optimizer": OPTIMIZER,
}
PROGRAMMED = COMMON | {"strategies": WAYS, "training": {"steps": 2}}
ONE = COMMON | {"device": {"name": "pcm"}, "strategy": "lsp_first"}
STUDIES = {
    "strategies": PROGRAMMED
    | {
        "study": "strategies",
        "device": {"name": "pcm"},
        "required": {
            "strategies": ["single_pair"],
            "parameters": ["ray"],
            "factors": [1, 4],
        },
    },
    "behind_converters": COMMON
    | {
        "study": "strategies",
        "device": {"name": "pcm"},
        "normalize": "column",
        "periphery": {"dac_bits": 6, "adc_bits": 6, "rows": 4, "columns": 4},
        "strategies": ["lsp_first"],
    },
    "devices": COMMON
    | {
        "study": "devices",
        "devices": ["pcm", "pcm_hermes"],
        "strategies": ["single_pair", "optimized"],
    },
    "sensitivity": ONE
    | {
        "study": "sensitivity",
        "one_at_a_time": {"gap": 0.05, "against": "digital", "factors": [0.5, 1, 2]},
        "gradients": {"chips": 2},
        "screening": {"samples": 2, "chips": 2},
        "variance": {"samples": 2, "chips": 2},
        "layers": {"chips": 2},
    },
    "sweep": ONE
    | {
        "study": "sweep",
        "faults": {"stuck_low": 0.1},
        "sweep": {"axes": [{"key": "device.noise.programming", "values": [1, 2]}]},
    },
}


def machine() -> str:
    """What bits depend on besides the code."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().split("\n") if cpu.is_file() else []
    about = dict(line.split(":", 1) for line in lines if ":" in line)
    about = {name.strip(): value.strip() for name, value in about.items()}
    kind = [about.get(n, "") for n in ("model name", "cpu family", "model", "stepping")]
    features = hashlib.sha256(about.get("flags", "").encode()).hexdigest()[:8]
    packages = f"jax {jax.__version__} numpy {np.__version__}"
    return (
        f"{platform.machine()} {'/'.join(kind)} features {features} "
        f"cores {os.cpu_count()} {packages} {jax.default_backend()}"
    )


def digests(name: str, out: Path) -> dict[str, str]:
    """SHA-256 of every numeric array of a study, by its name."""
    config = validate(STUDIES[name])
    data = run.run(run.prepare(config, out=out / name))
    arrays = {k: np.asarray(v) for k, v in data.variables.items()}
    return {
        name: hashlib.sha256(np.ascontiguousarray(v).tobytes()).hexdigest()[:16]
        for name, v in sorted(arrays.items())
        if v.dtype.kind in "fiub"
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_small_study_has_the_recorded_bits(name, tmp_path, monkeypatch):
    if name == "sensitivity":
        pytest.importorskip("SALib")
    tiny_study.use(monkeypatch)
    record = json.loads(RECORD.read_text())
    if record["machine"] != machine():
        pytest.skip(f"recorded on {record['machine']}")
    assert digests(name, tmp_path) == record["studies"][name]


def _record() -> None:
    run.load = lambda name, **_: tiny_study.tiny_workload(name)
    jax.config.update("jax_default_matmul_precision", "highest")
    with tempfile.TemporaryDirectory() as folder:
        studies = {name: digests(name, Path(folder)) for name in STUDIES}
    text = json.dumps({"machine": machine(), "studies": studies}, indent=1)
    RECORD.write_text(text + "\n")


if __name__ == "__main__":
    _record()
