#!/bin/sh
# Everything on one GPU: rows of benchmarks, then a part of the tests.
#
#   sh benchmarks/gpu.sh DIR [further arguments of benchmarks/gpu.py]
#
# Needs no network. Takes under 4 minutes: rows while there is time (150 s), then tests
# (at most 65 s). DIR/gpu.csv has the rows, DIR/tests.log what the tests said.
set -u
out=${1:?give a folder for the results}
shift
mkdir -p "$out"
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD:$PWD/benchmarks" PYTHONUNBUFFERED=1
export XLA_PYTHON_CLIENT_PREALLOCATE=false ANAJAX_CACHE=off
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader \
    >"$out/card.txt" 2>&1
cat "$out/card.txt"
timeout 170 python3 benchmarks/gpu.py --out "$out" --seconds 150 "$@" 2>&1 |
    tee "$out/rows.log"
timeout 65 python3 -m pytest -q -m "not slow" -p no:benchmark -p no:cacheprovider \
    -n "${WORKERS:-14}" --maxfail=20 \
    tests/test_fast_keys.py tests/test_rng.py tests/test_normal.py \
    tests/test_nn_constants.py tests/test_redraw.py tests/test_devices_oracle.py \
    tests/test_crossbar_noise.py tests/test_converters.py tests/test_nn.py \
    >"$out/tests.log" 2>&1
echo "tests: exit $?"
tail -n 15 "$out/tests.log"
