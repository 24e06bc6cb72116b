"""The same works by anajax and by aihwkit, in turn: wall and CPU times, and ratios.

`run.sh` calls this. Each side is a process of its own that does one work at a time;
every round does each work once by either, so that a busy machine is busy for both.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from timing import machine, write_csv

HERE = Path(__file__).parent


class Side:
    """A process that does works by name."""

    def __init__(self, python, file):
        self.process = subprocess.Popen(
            [python, str(HERE / file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.works = self._answer()

    def _answer(self):
        for line in self.process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        sys.exit(f"{self.process.args[-1]} ended: see what it wrote above.")

    def run(self, work):
        """Wall and CPU milliseconds of a work, done once."""
        self.process.stdin.write(f"{work}\n")
        self.process.stdin.flush()
        return self._answer()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--theirs", required=True, help="Python with aihwkit")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*")
    args = parser.parse_args()
    print(machine())
    ours, theirs = Side(sys.executable, "ours.py"), Side(args.theirs, "theirs.py")
    rows = []
    for work in args.only or [w for w in ours.works if w in theirs.works]:
        times = {}
        for _ in range(args.rounds + 1):  # the first compiles
            for name, side in (("anajax", ours), ("aihwkit", theirs)):
                times.setdefault(name, []).append(side.run(work))
        rows.append(_row(work, {n: np.array(t[1:]) for n, t in times.items()}))
        print(*rows[-1].values(), sep="  ", flush=True)
        write_csv("peers.csv", rows)


def _row(work, times):
    (wall, cpu), (their_wall, their_cpu) = (np.median(t, 0) for t in times.values())
    ratio = np.median(times["aihwkit"] / times["anajax"], 0)
    return {
        "work": work,
        "anajax_ms": f"{wall:.4g}", "anajax_cpu_ms": f"{cpu:.4g}",
        "aihwkit_ms": f"{their_wall:.4g}", "aihwkit_cpu_ms": f"{their_cpu:.4g}",
        "faster": f"{ratio[0]:.2f}", "faster_cpu": f"{ratio[1]:.2f}",
    }  # fmt: skip


if __name__ == "__main__":
    main()
