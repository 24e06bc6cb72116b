"""Compiled programs are kept from run to run, and say nothing but the same."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from anajax._core import cache
from anajax.studies.report import results

QUICK = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
SMALL = ("chips=2", "workload.items=40", "optimizer.steps=50")


@pytest.fixture
def empty(monkeypatch):
    """An environment without folders of jax or of anajax."""
    for name in (cache.JAX, "ANAJAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")


def test_the_folder_is_where_users_want_it(empty, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    found = cache.turn_on()
    assert found is not None and found.parent == tmp_path / "x" / "anajax"
    assert found.is_dir() and os.environ[cache.JAX] == str(found)
    assert cache.turn_on(str(tmp_path / "y")) is None  # jax knows one already
    monkeypatch.delenv(cache.JAX)
    monkeypatch.setenv("ANAJAX_CACHE", str(tmp_path / "z"))
    found = cache.turn_on()
    assert found is not None and found.parent == tmp_path / "z"
    monkeypatch.delenv(cache.JAX)
    assert cache.turn_on("off") is None and cache.JAX not in os.environ
    (tmp_path / "file").write_text("")
    assert cache.turn_on(str(tmp_path / "file")) is None  # no place to keep anything


def test_the_oldest_programs_go_first(tmp_path):
    now = time.time()
    for i in range(4):
        (tmp_path / f"{i}").write_bytes(bytes(100))
        os.utime(tmp_path / f"{i}", (now - i, now - 10))
    cache.trim(tmp_path, 250)
    assert {p.name for p in tmp_path.iterdir()} == {"0", "1"}
    cache.trim(tmp_path / "missing", 250)


@pytest.mark.slow
def test_a_second_run_compiles_less_and_all_give_the_same_bits(tmp_path):
    names = (cache.JAX, "ANAJAX_CACHE")
    outside = {k: v for k, v in os.environ.items() if k not in names}
    found, seconds = [], []
    for i in range(3):
        words = [sys.executable, "-m", "anajax.cli", "--cache", tmp_path / "c", "run"]
        words += [QUICK, "--out", tmp_path / f"{i}"]
        words += [word for change in SMALL for word in ("--set", change)]
        if i == 2:  # as another process may leave them
            for file in (tmp_path / "c").glob("jax-*/*-cache"):
                file.write_bytes(file.read_bytes()[:100])
        begin = os.times()
        done = subprocess.run(words, check=True, env=outside, capture_output=True)
        assert b"persistent" not in done.stderr
        end = os.times()
        seconds.append(end.children_user - begin.children_user)
        found.append(results.read_results(tmp_path / f"{i}"))
    kept = list((tmp_path / "c").glob("jax-*/*"))
    assert len(kept) > 5
    assert found[0].equals(found[1]) and found[0].equals(found[2])
    assert seconds[1] < 0.8 * seconds[0]
    assert np.all(np.isfinite(found[0].accuracy))
