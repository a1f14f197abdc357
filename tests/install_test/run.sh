#!/usr/bin/env bash
# Installs a build and uses it as others would: through find_package, pkg-config and
# add_subdirectory, from C++ and C, shared and static. The installed tree is moved before use.
#   tests/install_test/run.sh BUILD_DIR
set -euo pipefail
build=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
root=$(realpath "$here/../..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/staging" >/dev/null
mv "$work/staging" "$work/prefix"
prefix=$work/prefix
libdir=$(dirname "$(find "$prefix" -name libpagoda.so)")

check_exports() {
  local foreign
  foreign=$(nm -D --demangle --defined-only "$libdir/libpagoda.so" |
    awk '{ $1 = $2 = ""; print substr($0, 3) }' | grep -vE '^pagoda(_|::)' || true)
  [[ -z $foreign ]] || { echo "libpagoda.so exports what is not its own:"; echo "$foreign"; return 1; }
}

run_all() {
  local program
  for program in "$@"; do
    echo "$(basename "$program"):"
    "$program"
  done
}

# use_cmake NAME CMAKE_ARGUMENT...: builds the project in NAME/ and runs its programs.
use_cmake() {
  local name=$1
  shift
  echo "-- $name"
  cmake -G Ninja -S "$here/$name" -B "$work/$name" -DCMAKE_BUILD_TYPE=Release "$@" >/dev/null
  cmake --build "$work/$name"
  run_all "$work/$name"/use_*
}

use_pkg_config() {
  echo "-- pkg-config"
  export PKG_CONFIG_PATH=$libdir/pkgconfig
  [[ $(pkg-config --modversion pagoda) == "$(sed -nE 's/^project\(pagoda VERSION ([0-9.]+).*/\1/p' \
    "$root/CMakeLists.txt")" ]]
  local rpath=-Wl,-rpath,$libdir cflags libs
  read -ra cflags < <(pkg-config --cflags pagoda)
  read -ra libs < <(pkg-config --libs pagoda)
  c++ -std=c++20 "${cflags[@]}" "$root/examples/minimal.cc" -o "$work/use_cc" "${libs[@]}" "$rpath"
  cc -std=c99 "${cflags[@]}" "$root/examples/minimal.c" -o "$work/use_c" "${libs[@]}" "$rpath"
  # Static, and from C, which must be told of the C++ runtime.
  mkdir "$work/static"
  cp "$libdir/libpagoda.a" "$work/static"
  read -ra libs < <(pkg-config --static --libs pagoda)
  cc -std=c99 "${cflags[@]}" "$root/examples/minimal.c" -o "$work/use_c_static" \
    -L"$work/static" "${libs[@]}"
  run_all "$work"/use_{cc,c,c_static}
  [[ -z $(ldd "$work/use_c_static" | grep pagoda) ]]
}

check_exports
use_cmake find_package -DCMAKE_PREFIX_PATH="$prefix"
use_cmake c_only -DCMAKE_PREFIX_PATH="$prefix"
use_pkg_config
# All of the library is compiled for it: unoptimised, that is quick.
use_cmake add_subdirectory -DPAGODA_ROOT="$root" -DPAGODA_WITH_CUDA=OFF -DCMAKE_BUILD_TYPE=Debug
echo "install_test: all consumers built and ran"
