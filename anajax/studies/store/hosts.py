"""A study in several processes, on one host or many: one command in each of them.

Two processes started by hand, the first on `node0`, which keeps the results:

    anajax run study.yaml --out out --devices all --cluster node0:7777,0,2   # on node0
    anajax run study.yaml --out out --devices all --cluster node0:7777,1,2   # on node1

Under Slurm (also Open MPI, Kubernetes and TPU pods), jax finds the other processes by
itself; with one process per GPU:

    #!/bin/bash
    #SBATCH --nodes=2
    #SBATCH --ntasks-per-node=4
    #SBATCH --gpus-per-node=4
    #SBATCH --cpus-per-task=8
    srun anajax run study.yaml --out out --devices all --cluster auto --resume auto

With `--resume auto`, the same script starts the study, and continues it after a killed
job. Only process 0 reads and writes `--out`; the others need no shared disk. All need
the config, device files and data. Every process does the same searches, and chips are
shared; if hosts compute differently, the values of process 0 are used.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from anajax.studies.store.folder import Folder, Resume, check_resume


def connect(cluster: str) -> None:
    """Join the processes of a study; call this before anything else in jax.

    Args:
        cluster: "auto", or "HOST:PORT,INDEX,COUNT": the address of process 0, the index
            of this process, and the number of processes.

    Raises:
        ValueError: if it is neither, or "auto" finds nothing.
    """
    if cluster == "auto":
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise ValueError(
                f"`--cluster auto` must run under Slurm, Open MPI, Kubernetes or on a "
                f"TPU pod: got {error} Write HOST:PORT,INDEX,COUNT instead."
            ) from None
        return
    match = re.fullmatch(r"([\w.\[\]:-]+:\d+),(\d+),(\d+)", cluster)
    if match is None or not int(match[2]) < int(match[3]):
        raise ValueError(
            "`--cluster` must be auto or HOST:PORT,INDEX,COUNT with INDEX below COUNT: "
            f"got {cluster!r}. Write for example node0:7777,0,2 on the first of two."
        )
    jax.distributed.initialize(match[1], int(match[3]), int(match[2]))


def is_main_process() -> bool:
    """Whether this is process 0, which writes files and messages."""
    return jax.process_index() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Raise an error of one process in all of them, so that none waits forever.

    The body itself must not wait for other processes.

    Raises:
        ValueError: if another process failed.
    """
    mistake = None
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        mistake = error
    failed = np.flatnonzero(_gathered(np.array([mistake is not None])))
    if mistake is not None:
        raise mistake
    if failed.size:
        raise ValueError(
            f"All processes must be able to start: got an error in process "
            f"{failed[0]}. Its own message says which."
        )


def open_folder(path: Path, identity: Mapping[str, Any], *, resume: Resume) -> Folder:
    """The folder of a study: on the disk of process 0, for all processes.

    Raises:
        ValueError: see `Folder.open`; or if processes run different studies.
    """
    check_resume(resume)
    if jax.process_count() == 1:
        return Folder.open(path, identity, resume=resume)
    folder = SharedFolder(path, dict(identity), {})
    with together():
        if is_main_process():
            opened = Folder.open(path, identity, resume=resume)
            folder = SharedFolder(path, opened.identity, opened.files)
    same = {k: v for k, v in identity.items() if k != "source"}  # may name places
    digest = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).digest()
    digests = _gathered(np.frombuffer(digest, np.uint8)).reshape(-1, len(digest))
    differing = np.flatnonzero((digests != digests[0]).any(1))
    if differing.size:
        raise ValueError(
            f"All processes must run the same study with the same versions: got others "
            f"in process {differing[0]} than in 0. Give all the same command and "
            "environment."
        )
    return folder


class SharedFolder(Folder):
    """A folder that process 0 reads and writes; all processes use it in one order."""

    def write(self, name: str, content: bytes) -> Path:
        """Write in process 0, see `Folder.write`."""
        if is_main_process():
            return super().write(name, content)
        return self.path / name

    def remove(self, name: str) -> None:
        """Delete in process 0, see `Folder.remove`."""
        if is_main_process():
            super().remove(name)

    def has(self, name: str) -> bool:
        """Whether process 0 has the file."""
        there = is_main_process() and super().has(name)
        return bool(_from_leader(np.array(there)))

    def content(self, name: str) -> bytes:
        """What process 0 reads."""
        data = (
            np.frombuffer(super().content(name), np.uint8)
            if is_main_process()
            else None
        )
        size = int(_from_leader(np.array(0 if data is None else data.size)))
        data = np.zeros(size, np.uint8) if data is None else data
        return _from_leader(data).tobytes()


def _from_leader(value: np.ndarray) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(value))


def _gathered(value: np.ndarray) -> np.ndarray:
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(value)).ravel()
