# Sourced by test.sh: what each step does. A step's output goes to its log; its exit status is the
# verdict, 77 means skipped, and its last line is shown in the summary.

packages=(cmake g++ ninja-build pkg-config git python3 binutils clang-format libgtest-dev
          libbenchmark-dev nlohmann-json3-dev libcli11-dev libfmt-dev)
optional_packages=(clang g++-aarch64-linux-gnu qemu-user)

skip() {
  echo "$1"
  exit 77
}

build_and_test() {  # PRESET CTEST_ARGUMENT...
  local preset=$1
  shift
  cmake --preset "$preset"
  cmake --build "build/$preset" -j "$jobs"
  ctest --test-dir "build/$preset" --output-on-failure -j "$jobs" "$@"
}

step_checks() {
  scripts/check_format.sh
  python3 scripts/check_sources.py
  python3 scripts/check_docs.py
  python3 scripts/check_layers.py
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

step_dev() {
  build_and_test dev
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

step_asan() {
  build_and_test asan
}

step_tsan() {
  build_and_test tsan -L threads
}

step_clang() {
  command -v clang++ >/dev/null || skip "no clang++"
  CC=clang CXX=clang++ cmake --preset dev -B build/clang -DPAGODA_WITH_CUDA=OFF
  cmake --build build/clang -j "$jobs"
  ctest --test-dir build/clang --output-on-failure -j "$jobs"
}

step_aarch64() {
  command -v aarch64-linux-gnu-g++ >/dev/null || skip "no cross compiler"
  command -v qemu-aarch64 >/dev/null || skip "no qemu-user"
  cmake --preset cpu -B build/aarch64 --toolchain cmake/toolchains/aarch64-linux-gnu.cmake \
    -DPAGODA_WERROR=ON -DPAGODA_BUILD_TOOLS=OFF
  cmake --build build/aarch64 -j "$jobs"
  ctest --test-dir build/aarch64 --output-on-failure -j "$jobs"
}
