#!/bin/sh
# anajax and aihwkit side by side, in one go: ratios of times (peers_speed.csv), errors
# of weights (peers_weight_error.csv), and files that go from one to the other.
#
#   sh benchmarks/peers/run.sh [--rounds 7]
#
# Makes an environment with aihwkit in benchmarks/peers/.env, once: its wheel needs
# Python 3.12 (name the interpreter in PYTHON312), and PyTorch, whose own wheel takes
# some gigabytes with CUDA. anajax runs in the environment of `python`. Results
# are in benchmarks/results.
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
"$theirs" -m pip install -q safetensors
export PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}"
python "$here/files.py" --peer "$theirs"
python "$here/weight_error.py" --peer "$theirs"
python "$here/speed.py" --peer "$theirs" "$@"
