#!/usr/bin/env bash
# Sets up, builds the library and the `pagoda` command, and replays a serving workload.
#   scripts/run.sh [ARGUMENT...]     arguments go to `pagoda replay`; --help lists them
set -euo pipefail
source "$(dirname "$0")/setup.sh"

install_missing cmake g++ ninja-build nlohmann-json3-dev libcli11-dev libfmt-dev

build=build/run
echo "== Building the library and the pagoda command in $build"
cmake --preset cpu -B $build -DPAGODA_BUILD_TESTS=OFF -DPAGODA_BUILD_EXAMPLES=OFF >/dev/null
cmake --build $build -j "$jobs"

command=$build/tools/pagoda/pagoda
echo "== $command replay${*:+ $*}"
start=$SECONDS
$command replay "$@"
echo "== Done: the replay took $((SECONDS - start)) s, everything $SECONDS s"
echo "   $command --help lists what else the command does"
