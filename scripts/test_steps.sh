# Sourced by test.sh: what each step does. A step's output goes to its log; its exit status is the
# verdict, 77 means skipped, and its last line is shown in the summary.

packages=(cmake g++ ninja-build pkg-config git python3 python3-venv python3-dev binutils
          clang-format libgtest-dev libbenchmark-dev nlohmann-json3-dev libcli11-dev libfmt-dev clang
          libclang-rt-14-dev)
optional_packages=(g++-aarch64-linux-gnu qemu-user valgrind)

skip() {
  echo "$1"
  exit 77
}

run_tests() {  # BUILD_DIR CTEST_ARGUMENT...
  local build=$1
  shift
  ctest --test-dir "$build" --output-on-failure -j "$jobs" "$@"
}

# Every test, but only each STRIDE-th case of the attention tests, and a tenth of that on emulated
# tiles: for builds that run slowly.
run_tests_thinned() {  # STRIDE BUILD_DIR
  run_tests "$2" -E '^attention_(amx_)?test'
  GTEST_TOTAL_SHARDS=$1 GTEST_SHARD_INDEX=0 run_tests "$2" -R '^attention_test'
  GTEST_TOTAL_SHARDS=$((10 * $1)) GTEST_SHARD_INDEX=0 run_tests "$2" -R '^attention_amx_test'
}

step_checks() {
  scripts/check_format.sh
  python3 scripts/check_sources.py
  python3 scripts/check_docs.py
  python3 scripts/check_layers.py
}

# The sources of the library but for its kernels, by .clang-tidy, which is
# not installed for this alone.
step_tidy() {
  command -v clang-tidy >/dev/null || skip "no clang-tidy"
  cmake --preset cpu
  printf '%s\n' src/{core,api,cpu}/*.cc | grep -v /kernels_ |
    xargs -P "$jobs" -n 1 clang-tidy -p build/cpu --quiet --warnings-as-errors='*'
}

step_headers() {
  cmake --preset dev
  cmake --build build/dev -j "$jobs" --target header_tests
}

step_nvcc() {
  command -v nvcc >/dev/null || skip "no nvcc"
  cmake --preset dev
  cmake --build build/dev -j "$jobs" --target device_headers_check
}

step_kernels() {
  command -v nvcc >/dev/null || skip "no nvcc"
  cmake --preset dev
  cmake --build build/dev -j "$jobs" --target pagoda_objects
  python3 scripts/check_kernels.py build/dev
}

step_dev() {
  cmake --preset dev
  cmake --build build/dev -j "$jobs"
  run_tests build/dev
}

step_isa_symbols() {
  cmake --preset dev
  cmake --build build/dev -j "$jobs" --target pagoda_objects
  python3 scripts/check_isa_symbols.py build/dev
}

step_install() {
  cmake --preset dev
  cmake --build build/dev -j "$jobs"
  tests/install_test/run.sh build/dev
}

# clang puts the sanitizers into the kernels in a tenth of the time that g++ needs, and is the second
# compiler that all of the code must pass.
step_asan() {
  CC=clang CXX=clang++ cmake --preset asan -DPAGODA_WERROR=ON
  cmake --build build/asan -j "$jobs"
  run_tests_thinned 8 build/asan
}

step_tsan() {
  cmake --preset tsan
  cmake --build build/tsan -j "$jobs" --target thread_pool_test property_test kv_cache_test
  # Without two long properties, which take five minutes: others use threads as they do.
  GTEST_FILTER='-*ChunksDoNotMatter*:*WorkspaceOfTheLimits*' run_tests build/tsan -L threads
}

build_aarch64() {
  command -v aarch64-linux-gnu-g++ >/dev/null || skip "no cross compiler"
  command -v qemu-aarch64 >/dev/null || skip "no qemu-user"
  cmake --preset cpu -B build/aarch64 --toolchain cmake/toolchains/aarch64-linux-gnu.cmake \
    -DPAGODA_WERROR=ON -DPAGODA_BUILD_TOOLS=OFF
  cmake --build build/aarch64 -j "$jobs"
}

step_aarch64() {
  build_aarch64
  # Emulated, the properties take minutes, and qemu-user cannot fork a process that has threads.
  GTEST_FILTER='-ThreadPool.WorksInAForkedChild' \
    run_tests build/aarch64 -E '^(attention|property)_test'
  GTEST_TOTAL_SHARDS=100 GTEST_SHARD_INDEX=0 run_tests build/aarch64 -R '^attention_test'
}

has_python() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

# The wheel, checked; in an empty virtual environment, where it needs nothing else; then in that of the
# tests, with all that uses it. Built where the step dev was, whose objects it takes.
step_python() {
  has_python || skip "Python is older than 3.11"
  scripts/python_venv.sh
  local python=build/venv/bin/python example
  export HF_HUB_OFFLINE=1
  rm -rf build/dist
  "$python" -m pip wheel . --no-deps --no-build-isolation -q -w build/dist \
    --config-settings=cmake.define.PAGODA_WERROR=ON --config-settings=build-dir=build/dev
  "$python" -m pip install -q --no-deps --force-reinstall build/dist/*.whl
  "$python" scripts/check_wheel.py build/dist/*.whl
  "$python" -m venv --clear build/empty_venv
  build/empty_venv/bin/python -m pip install -q --no-index build/dist/*.whl
  build/empty_venv/bin/python -m pagoda doctor
  "$python" -m mypy
  # The models are small: more threads of torch's would wait for each other.
  OMP_NUM_THREADS=1 "$python" -m pytest tests/python -n "$jobs" --maxprocesses 8
  for example in mixed_batch decode_loop hf_generate; do "$python" "examples/$example.py"; done
}

# What follows is run by nightly.sh.

step_instruction_counts() {
  command -v valgrind >/dev/null || skip "no valgrind"
  cmake --preset dev
  cmake --build build/dev -j "$jobs" --target counted_batch
  python3 bench/instruction_counts.py --program build/dev/bench/cpu/counted_batch
}

# Every case of the oracle and every property, emulated: a part of the cases per CPU. The cases take some
# 14 minutes of one CPU (Zen 4).
step_aarch64_all() {
  build_aarch64
  local part parts=()
  for ((part = 0; part < jobs; ++part)); do
    GTEST_TOTAL_SHARDS=$jobs GTEST_SHARD_INDEX=$part GTEST_BRIEF=1 \
      qemu-aarch64 -L /usr/aarch64-linux-gnu build/aarch64/tests/attention_test &
    parts+=($!)
  done
  for part in "${parts[@]}"; do wait "$part"; done
  run_tests build/aarch64 -R '^property_test$'
}

# Every case of the oracle, with the sanitizers.
step_asan_all() {
  CC=clang CXX=clang++ cmake --preset asan -DPAGODA_WERROR=ON
  cmake --build build/asan -j "$jobs"
  run_tests build/asan
}
