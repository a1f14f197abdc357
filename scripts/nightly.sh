#!/usr/bin/env bash
# The tests that take too long for scripts/test.sh, and the count of instructions, whose record is of one
# compiler and follows the kernels; by the same rules.
#   scripts/nightly.sh            all steps
#   scripts/nightly.sh STEP...    the named ones
set -euo pipefail
steps=(instruction_counts aarch64_all asan_all)
(($# == 0)) || steps=("$@")
exec "$(dirname "$0")/test.sh" "${steps[@]}"
