"""A study that is killed at any moment goes on to the same bytes."""

import random
import time

import processes
import pytest
import tiny_study
import yaml

KILLS = 20
KEPT = ("results.nc", "strategy.json", "report.html")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_study.CONFIG))
    return path


def begin(config, out):
    """A run that goes on where there is something, once it has imported all.

    What was compiled is kept, so that kills hit the work and not the compiler.
    """
    process = processes.start(
        "tiny_run.py",
        *("run", config, "--out", out, "--resume", "auto"),
        JAX_COMPILATION_CACHE_DIR=str(config.parent / "cache"),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
    )
    assert process.stdout.readline() == "ready\n"
    return process


def content(out):
    """All files of a finished study but the manifest, which lists their digests."""
    return {
        p.relative_to(out).as_posix(): p.read_bytes()
        for p in out.rglob("*")
        if p.is_file()
    }


@pytest.mark.slow
def test_study_killed_at_20_random_moments_ends_with_the_same_bytes(config, tmp_path):
    """Kills are spread over the whole of a run; a finished study begins anew."""
    for name in ("first", "whole"):  # the second one finds all compiled
        process = begin(config, tmp_path / name)
        start = time.monotonic()
        code, _, err = processes.finish(process)
        assert code == 0, err
        duration = time.monotonic() - start
    assert content(tmp_path / "first") == content(tmp_path / "whole")
    expected = content(tmp_path / "whole")
    assert set(KEPT) < set(expected)

    moments, kills, studies, states = random.Random(0), 0, 0, set()
    while kills < KILLS:
        out, done = tmp_path / f"killed{studies}", False
        studies += 1
        while not done:
            process = begin(config, out)
            if kills < KILLS:
                time.sleep(moments.uniform(0, duration))
                process.kill()
            code, _, err = processes.finish(process)
            done = code == 0
            kills += not done
            assert code in (0, -9), err
            states.add(len(list(out.rglob("*"))))
        assert content(out) == expected
    assert len(states) > 3  # it was killed in different stages of the work
