#!/bin/sh
# anajax and aihwkit side by side: one table of ratios, in one go.
#
#   sh benchmarks/peers/run.sh [--rounds 7] [--only WORKS ...]
#
# Makes an environment with aihwkit in benchmarks/peers/.env, once: its wheel needs
# Python 3.12 (name the interpreter in PYTHON312), and PyTorch, whose own wheel takes
# some gigabytes with CUDA. anajax runs in the environment of `python`. Writes
# benchmarks/results/peers.csv.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
theirs="$here/.env/bin/python"
if ! [ -x "$theirs" ]; then
    "${PYTHON312:-python3.12}" -m venv "$here/.env" || {
        echo "Python 3.12 is needed for the wheel of aihwkit: name it in PYTHON312." >&2
        exit 2
    }
fi
"$theirs" -c "import aihwkit" 2>/dev/null ||
    "$theirs" -m pip install -q "aihwkit==1.2.0" "torch==2.13.0" || {
    echo "aihwkit 1.2.0 with torch 2.13.0 cannot be installed here: see above." >&2
    exit 3
}
cd "$here"
PYTHONPATH="$here/../..:$here/..${PYTHONPATH:+:$PYTHONPATH}" \
    exec python compare.py --theirs "$theirs" "$@"
