"""The command `anajax` on the tiny network of `tiny_study`, for tests that kill it.

python tiny_run.py run CONFIG --out DIR ...
"""

import sys

from anajax import cli
from anajax.studies import run


def load(name, **_):
    import tiny_study  # computes: not before the processes of a cluster are connected

    return tiny_study.tiny_workload(name)


if __name__ == "__main__":
    run.load = load
    print("ready", flush=True)
    sys.argv[0] = "anajax"
    cli.main()
