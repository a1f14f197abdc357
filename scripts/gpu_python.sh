#!/usr/bin/env bash
# On a machine with a Hopper GPU: the Python package's tests on CUDA and, where asked, what it is worth
# beside its peers, in transformers and in vLLM. Nothing is downloaded.
#   scripts/gpu_python.sh build|WHEEL [tests | bench | accuracy | transformers | vllm]...
# "build" builds the wheel there (nvcc, scikit-build-core). SEED names the Triton kernel's file, to be run
# too, SUITES those of bench/vllm_engine.py; vLLM must be on PYTHONPATH. Results go to $OUT
# (build/gpu_python).
set -euo pipefail
cd "$(dirname "$0")/.."

wheel=$1
shift
site=$PWD/build/gpu_python/site
out=${OUT:-build/gpu_python}
mkdir -p "$site" "$out"
if [[ $wheel == build ]]; then
  python3 -m pip wheel . --no-deps --no-build-isolation -q -w build/gpu_python
  wheel=$(echo build/gpu_python/*.whl)
fi
python3 -m pip install -q --no-index --no-deps --upgrade --target "$site" "$wheel"
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1
python3 -m pagoda doctor --gpu

for part in "${@:-tests}"; do
  echo "== $part"
  case $part in
    tests)
      PAGODA_TEST_DEVICE=cuda python3 -m pytest tests/python -q -p no:cacheprovider
      python3 examples/decode_loop.py --device cuda
      ;;
    bench)
      python3 bench/python_call_cost.py --device cuda --calls 10000 ${SEED:+--seed-file "$SEED"}
      python3 -m pagoda bench --peers all ${SEED:+--seed "$SEED"} --json "$out/bench.json" \
        --plot "$out/bench"
      ;;
    accuracy)
      python3 bench/kv_accuracy.py --device cuda ${SEED:+--seed-kernel "$SEED"} \
        --json "$out/kv_accuracy.json"
      ;;
    transformers) python3 bench/transformers_serving.py --json "$out/transformers.json" ;;
    vllm)
      rm -f "$out"/vllm.*.json
      for suite in ${SUITES:-llama}; do
        for backend in FLASH_ATTN TRITON_ATTN CUSTOM; do
          run=$out/vllm.$suite.$backend
          timeout 400 python3 bench/vllm_engine.py $backend $suite --json "$run.json" \
            >"$run.log" 2>&1 || { tail -n 40 "$run.log"; exit 1; }
        done
      done
      python3 bench/vllm_engine.py --compare "$out"/vllm.*.json
      ;;
    *) echo "no part $part: tests, bench, accuracy, transformers, vllm" >&2; exit 2 ;;
  esac
done
