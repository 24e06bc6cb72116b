"""The command `anajax` on the tiny network of `tiny_study`, for tests that kill it.

python tiny_run.py run CONFIG --out DIR ...

With ENDLESS in the environment its metric takes hours.
"""

import dataclasses
import os
import sys

from anajax import cli
from anajax.studies import run
from anajax.studies.store import stopping


def load(name, **_):
    import tiny_study  # computes: not before the processes of a cluster are connected

    work = tiny_study.tiny_workload(name)
    if "ENDLESS" not in os.environ:
        return work
    import jax

    def metric(outputs, y):
        outputs = jax.lax.fori_loop(
            0, 2**31 - 2, lambda i, v: jax.numpy.tanh(v), outputs
        )
        return work.metric_fn(outputs, y)

    return dataclasses.replace(work, metric_fn=metric)


def listen_and_say(listen=stopping.listen):
    """From here on signals are heard: those that wait for this word may send them."""
    listen()
    print("ready", flush=True)
    stopping.listen = listen


if __name__ == "__main__":
    run.load = load
    stopping.listen = listen_and_say
    sys.argv[0] = "anajax"
    cli.main()
