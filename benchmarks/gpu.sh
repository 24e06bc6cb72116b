#!/bin/sh
# Everything on one GPU: rows of benchmarks, then a part of the tests.
#
#   sh benchmarks/gpu.sh DIR [further arguments of benchmarks/gpu.py]
#
# Needs no network. Takes under 4 minutes: rows while there is time (ROWS seconds, 110),
# then tests (at most TESTS seconds, 120). DIR/gpu.csv has the rows, DIR/tests.log what
# the tests said. Called again with the same DIR it goes on with the rows.
set -u
out=${1:?give a folder for the results}
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.." || exit
export PYTHONPATH="$PWD:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export XLA_PYTHON_CLIENT_PREALLOCATE=false ANAJAX_CACHE=off
rows=${ROWS:-110} tests=${TESTS:-120}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader \
    >"$out/card.txt" 2>&1
cat "$out/card.txt"
timeout "$rows" python3 benchmarks/gpu.py --out "$out" --seconds "$rows" "$@" 2>&1 |
    tee "$out/rows.log"
timeout "$tests" python3 -m pytest -q -m "not slow" -p no:benchmark \
    -p no:cacheprovider -n "${WORKERS:-14}" --maxfail=20 \
    tests/test_fast_keys.py tests/test_rng.py tests/test_normal.py \
    tests/test_redraw.py tests/test_nn_constants.py tests/test_devices_oracle.py \
    tests/test_converters.py tests/test_crossbar_noise.py \
    tests/test_search_layers.py >"$out/tests.log" 2>&1
echo "tests: exit $?"
tail -n 15 "$out/tests.log"
