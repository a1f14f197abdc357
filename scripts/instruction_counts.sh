#!/usr/bin/env bash
# Builds and counts the instructions of three fixed batches; see bench/instruction_counts.py.
#   scripts/instruction_counts.sh [--update]
set -euo pipefail
source "$(dirname "$0")/setup.sh"

install_missing cmake g++ ninja-build python3 binutils valgrind nlohmann-json3-dev libcli11-dev \
  libfmt-dev libbenchmark-dev
cmake --preset bench -DPAGODA_BUILD_TESTS=OFF -DPAGODA_BUILD_EXAMPLES=OFF >/dev/null
cmake --build build/bench -j "$jobs" --target counted_batch >/dev/null
python3 bench/instruction_counts.py --program build/bench/bench/cpu/counted_batch "$@"
