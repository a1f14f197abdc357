#!/usr/bin/env bash
# Are all sources formatted? `scripts/check_format.sh --fix` formats them.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=(--dry-run -Werror)
[[ "${1:-}" == --fix ]] && mode=(-i)
git ls-files -z --cached --others --exclude-standard -- '*.h' '*.cuh' '*.cc' '*.cu' '*.c' |
  xargs -0 clang-format "${mode[@]}"
