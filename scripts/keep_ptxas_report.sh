#!/usr/bin/env bash
# Launches nvcc and keeps what ptxas says of the kernels beside the object, for check_kernels.py.
#   scripts/keep_ptxas_report.sh NVCC ARGUMENT... -o OBJECT
set -euo pipefail
report=${*: -1}.ptxas
"$@" -Xptxas=-v 2>"$report" || { status=$?; cat "$report" >&2; exit $status; }
