#!/usr/bin/env bash
# On a machine with a Hopper GPU: builds and times the CUDA backend.
#   scripts/gpu_bench.sh [ARGUMENT...]     arguments go to gpu_bench; --help lists them
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/gpu
cmake -S . -B $build -G Ninja -DPAGODA_WITH_CUDA=ON -DPAGODA_BUILD_TOOLS=OFF \
  -DPAGODA_BUILD_EXAMPLES=OFF >/dev/null
cmake --build $build -j "$(nproc)" --target gpu_bench
$build/bench/gpu/gpu_bench "$@"
