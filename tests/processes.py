"""Commands in processes of their own, for tests of devices, clusters and kills."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import anajax

HERE = Path(__file__).parent


def start(script, *words, devices=1, **environment):
    """A script of the tests, on as many host devices."""
    paths = [str(Path(anajax.__file__).parents[1]), str(HERE)]
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *map(str, words)],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(paths),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_PLATFORMS": "cpu",
        }
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=300):
    """Exit code and output of a process; it is killed after `timeout` s."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    return process.returncode, out, err


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
