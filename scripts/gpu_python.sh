#!/usr/bin/env bash
# On a machine with a Hopper GPU: the Python package's tests on CUDA and, where asked, what it is worth in
# transformers and vLLM. Nothing is downloaded.
#   scripts/gpu_python.sh WHEEL [tests | transformers | vllm]...
# WHEEL is one that `pip wheel .` built where nvcc is. Results of the last two go to $OUT (build/gpu_python).
set -euo pipefail
cd "$(dirname "$0")/.."

wheel=$1
shift
site=build/gpu_python/site
out=${OUT:-build/gpu_python}
mkdir -p "$site" "$out"
python3 -m pip install -q --no-index --no-deps --upgrade --target "$site" "$wheel"
export PYTHONPATH=$PWD/$site${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1
python3 -m pagoda doctor --gpu

for part in "${@:-tests}"; do
  case $part in
    tests)
      PAGODA_TEST_DEVICE=cuda python3 -m pytest tests/python -q -p no:cacheprovider
      python3 examples/decode_loop.py --device cuda
      python3 bench/python_call_cost.py
      ;;
    transformers) python3 bench/transformers_serving.py --json "$out/transformers.json" ;;
    vllm)
      for backend in FLASH_ATTN TRITON_ATTN CUSTOM; do
        timeout 400 python3 bench/vllm_engine.py $backend --json "$out/$backend.json" \
          >"$out/$backend.log" 2>&1 || { tail -40 "$out/$backend.log"; exit 1; }
        grep -F "$backend " "$out/$backend.log" || true
      done
      python3 bench/vllm_engine.py --compare "$out/FLASH_ATTN.json" "$out/CUSTOM.json"
      ;;
    *) echo "no part $part: tests, transformers, vllm" >&2; exit 2 ;;
  esac
done
