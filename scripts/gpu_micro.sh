#!/usr/bin/env bash
# Builds and runs the tests of the PTX layer and the micro-benchmarks; needs nvcc and a Hopper GPU.
#   scripts/gpu_micro.sh [JSON_FILE [stream_read|page_read|launch_gap|mma_rate|convert_rate ...]]
# Fails if a kernel spills registers.
set -euo pipefail
cd "$(dirname "$0")/.."
json=${1:-build/gpu_micro.json}
build=build/gpu_micro

echo "== Building in $build"
cmake -S . -B $build -DPAGODA_WITH_CUDA=ON -DPAGODA_BUILD_TESTS=OFF -DPAGODA_BUILD_TOOLS=OFF \
  -DPAGODA_BUILD_EXAMPLES=OFF -DCMAKE_CUDA_FLAGS="-Xptxas -v" >/dev/null
cmake --build $build --target sm90_test gpu_micro -j "$(nproc)" >$build/build.log 2>&1 || {
  tail -40 $build/build.log
  exit 1
}
if grep -E '[1-9][0-9]* bytes spill' $build/build.log; then
  echo "gpu_micro.sh: registers spill; see $build/build.log"
  exit 1
fi

echo "== Testing the PTX layer"
$build/tests/sm90/sm90_test

echo "== Measuring; the figures go to $json"
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv,noheader
$build/bench/micro/gpu_micro "--json=$json" "${@:2}"
