#!/usr/bin/env bash
# On a machine with a Hopper GPU: builds, then runs every case of the CUDA backend against the
# oracle, the KV-cache operations against the CPU's, the planner's, graph and repeatability tests, the
# PTX layer's tests, and compute-sanitizer over a few cases.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/gpu
jobs=$(nproc)
cmake -S . -B $build -G Ninja -DPAGODA_WITH_CUDA=ON -DPAGODA_BUILD_TOOLS=OFF \
  -DPAGODA_BUILD_EXAMPLES=OFF >/dev/null
cmake --build $build -j "$jobs" --target attention_cuda_test kv_cache_cuda_test \
  long_context_cuda_test plan_cuda_test sm90_test

failed=0
step() {
  printf '== %s\n' "$*"
  "$@" || { echo "   FAILED"; failed=1; }
}

sharded() {  # PROGRAM: as many processes as cores, each with its share of the cases
  local program=$1 pids=() index code=0
  export GTEST_TOTAL_SHARDS=$jobs GTEST_BRIEF=1
  for ((index = 0; index < jobs; ++index)); do
    GTEST_SHARD_INDEX=$index "$program" & pids+=($!)
  done
  for index in "${pids[@]}"; do wait "$index" || code=1; done
  unset GTEST_TOTAL_SHARDS GTEST_BRIEF
  return $code
}

step $build/tests/sm90/sm90_test
step $build/tests/plan_cuda_test
step $build/tests/long_context_cuda_test
step sharded $build/tests/attention_cuda_test
step sharded $build/tests/kv_cache_cuda_test
for tool in memcheck racecheck synccheck; do
  step compute-sanitizer --tool $tool --error-exitcode 1 $build/tests/attention_cuda_test --every=200
  step compute-sanitizer --tool $tool --error-exitcode 1 $build/tests/kv_cache_cuda_test \
    --gtest_filter='*/?'
done
((failed == 0)) && echo "GPU tests: all passed"
exit $failed
