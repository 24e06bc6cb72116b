"""Disks that are full, folders that are in use or were never begun."""

import errno
import os
import subprocess
import sys

import pytest
import tiny_study
import yaml
from test_cli import invoke, refused
from test_malformed_folders import DRAWN, files

from anajax import cli, devices
from anajax._core import disk
from anajax.devices.files import save_device
from anajax.studies import run
from anajax.studies.report import overview, report
from anajax.studies.store import lock
from anajax.studies.store.folder import Folder

STUDY = tiny_study.CONFIG | {"strategies": ["single_pair"], "times": ["1 s"]}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_study.use(monkeypatch)
    monkeypatch.setattr(report, "draw", lambda *_: DRAWN)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "c.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return path


class Disk:
    """Takes `room` files, then none."""

    def __init__(self, room, code):
        self.room, self.code = room, code

    def fsync(self, _):
        self.room -= 1
        if self.room < 0:
            raise OSError(self.code, os.strerror(self.code))


def fill(monkeypatch, room, code=errno.ENOSPC):
    monkeypatch.setattr(disk.os, "fsync", Disk(room, code).fsync)


def test_a_study_on_a_full_disk_says_so(config, tmp_path, monkeypatch):
    fill(monkeypatch, 1)
    result = invoke("run", config, "--out", tmp_path / "out")
    assert result.exit_code == 4 and "Free space" in result.output
    assert set(files(tmp_path)) == {"out/study.json"}


@pytest.mark.slow
def test_a_study_on_a_full_disk_goes_on_to_the_same_bytes(
    config, tmp_path, monkeypatch
):
    """The disk is full after every file: each run writes one more."""
    assert invoke("run", config, "--out", tmp_path / "whole").exit_code == 0
    out, attempts, code = tmp_path / "out", 0, 4
    while code == 4 and attempts < 100:
        fill(monkeypatch, 2)  # a file and the manifest
        result = invoke("run", config, "--out", out, "--resume", "auto")
        attempts, code = attempts + 1, result.exit_code
        assert not list(out.rglob(f"{disk.TEMPORARY}*"))
        if code == 4:
            text = result.output.replace("\n", " ")
            assert "Error: `" in text and "must be written: got No space left" in text
            assert "Free space, then repeat the command" in text
            assert "Traceback" not in text
    assert code == 0 and attempts > 5
    monkeypatch.undo()
    assert files(out) == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "Free space"),
        (errno.EDQUOT, "Free space"),
        (errno.EROFS, "Make its folder writable"),
        (errno.EACCES, "Make its folder writable"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_whatever_writes_names_the_file_and_leaves_the_old_one(
    tmp_path, monkeypatch, code, remedy
):
    folder = Folder.open(tmp_path / "f", {})
    folder.write("results.nc", b"old")
    device = tmp_path / "d.json"
    save_device(devices.pcm(), device)
    before = files(tmp_path)
    writes = {
        folder.path / "results.nc": lambda: folder.write("results.nc", b"new"),
        folder.path / "new": lambda: folder.write("new", b"new"),
        device: lambda: save_device(devices.reram_milo(), device),
    }
    for path, write in writes.items():
        for room in (0, 1) if path.parent == folder.path else (0,):
            fill(monkeypatch, room, code)
            with pytest.raises(disk.WriteError) as caught:
                write()
            text = f"`{path}` must be written: got {os.strerror(code)}. {remedy}, then"
            assert str(caught.value).startswith(text)
            assert files(tmp_path) == before
    monkeypatch.undo()
    folder.close()
    assert Folder.open(tmp_path / "f", {}, resume=True).files.keys() == {"results.nc"}


def test_other_commands_end_with_code_4(tmp_path, monkeypatch):
    fill(monkeypatch, 0)
    path = tmp_path / "d.png"
    result = invoke("devices", "ideal", "--plot", path)
    assert result.exit_code == 4 and not list(tmp_path.iterdir()), result.output

    def write(*_):
        disk.write_atomically(tmp_path / "overview.csv", b"")

    monkeypatch.setattr(overview, "write_overview", write)
    result = invoke("overview", tmp_path, "--out", tmp_path)
    assert result.exit_code == 4 and not list(tmp_path.iterdir())


HOLD = """
import pathlib, sys
from anajax.studies.store import lock
lock.take(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_one_process_at_a_time(config, tmp_path):
    """Until the other one ends, or is killed."""
    out = tmp_path / "out"
    run.prepare(cli_config(config), out=out).folder.close()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout.readline() == b"held\n"
    for words in (
        ("run", config, "--out", out),
        ("run", config, "--out", out, "--resume"),
        ("report", out),
    ):
        text = refused(*words).replace("\n", " ")
        assert "must be a folder that no other process is using" in text
        assert f"process {other.pid} on " in text
    other.kill()
    other.communicate()
    assert (out / lock.LOCK).exists()  # what a killed process leaves is no lock
    assert invoke("run", config, "--out", out, "--resume").exit_code == 0
    assert not (out / lock.LOCK).exists()


def cli_config(path):
    from anajax.studies.load import load_config

    return load_config(path, [])


def test_a_disk_without_locks_is_used_without(config, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    run.prepare(cli_config(config), out=tmp_path / "out")
    monkeypatch.setattr(lock, "fcntl", None)
    run.prepare(cli_config(config), out=tmp_path / "two")


def test_nothing_to_go_on_with_is_refused_and_auto_begins(config, tmp_path):
    out = tmp_path / "night"
    assert invoke("run", config, "--out", out, "--resume", "auto").exit_code == 0
    before = files(tmp_path)
    text = refused("run", config, "--resume", "--out", tmp_path / "nihgt")
    text = text.replace("\n", " ")
    assert "`--resume` must continue an existing study" in text
    assert f"which does not exist. Did you mean {out}?" in text
    assert "--resume auto to start or continue" in text
    (tmp_path / "empty").mkdir()
    assert "which is empty" in refused(
        "run", config, "--resume", "--out", tmp_path / "empty"
    ).replace("\n", " ")
    assert files(tmp_path) == before and not (tmp_path / "nihgt").exists()
    for words in (("--resume", "auto"), ("--resume=auto",), ("--resume",)):
        assert invoke("run", *words, config, "--out", out).exit_code == 0
    assert files(tmp_path) == before
    text = refused("run", config, "--resume=never", "--out", out)
    assert "`--resume` must stand alone or before auto: got 'never'" in text


def test_codes_are_told():
    text = invoke("--help").output.replace("\n", " ")
    assert "Exit codes: 0 done;" in text and cli.app.info.epilog in " ".join(
        text.split()
    )
