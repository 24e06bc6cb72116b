"""One side of `compare.py`: does works that it reads the names of, and tells times."""

import json
import sys
import time


def serve(works):
    """Answer until there is no more to read: {name: what makes a function of nothing}.

    A work is made when it is first asked for.
    """
    print("answer", json.dumps(list(works)), flush=True)
    made = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in made:
            made[name] = works[name]()
        run = made[name]
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print("answer", json.dumps([1e3 * wall, 1e3 * cpu]), flush=True)
