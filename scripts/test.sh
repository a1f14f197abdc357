#!/usr/bin/env bash
# Sets up, builds and tests everything that this machine can, and sums up what passed.
#   scripts/test.sh            all steps
#   scripts/test.sh --quick    checks, and the tests of an optimised build
#   scripts/test.sh STEP...    the named steps only
set -euo pipefail
source "$(dirname "$0")/setup.sh"
source scripts/test_steps.sh

all_steps=(checks tidy headers nvcc kernels dev isa_symbols install asan tsan aarch64 python)
case "${1:-}" in
  "") steps=("${all_steps[@]}") ;;
  --quick) steps=(checks headers dev isa_symbols) ;;
  -*) echo "usage: scripts/test.sh [--quick | STEP...]; steps: ${all_steps[*]}" >&2; exit 2 ;;
  *) steps=("$@") ;;
esac

logs=$root/build/test_logs
mkdir -p "$logs"
rm -f "$logs"/*.log
install_missing "${packages[@]}"
# Without these a step is skipped, not failed.
install_missing "${optional_packages[@]}" || true
# Here, where it is seen what pip installs; if it fails, the step says why.
if [[ " ${steps[*]} " == *" python "* ]] && has_python; then scripts/python_venv.sh || true; fi

summary=()
passed=0
failed=0
skipped=0

# Of pytest's closing line, "3 failed, 120 passed, 1 skipped in 4.56s".
pytest_count() {  # WORD LOG
  local number
  number=$(grep -E '[0-9]+ (passed|failed|error).* in [0-9.]+s' "$2" |
    sed -nE "s/.*\b([0-9]+) $1.*/\1/p" | tail -n 1)
  echo "${number:-0}"
}

# A run of CTest or pytest counts with its tests, any other step as one. CTest counts what it skipped
# as passed.
count() {  # STATUS LOG
  local good=0 bad=0 none total some_failed
  while read -r total some_failed; do
    bad=$((bad + ${some_failed:-0}))
    good=$((good + total - ${some_failed:-0}))
  done < <(sed -nE 's/^[0-9]+% tests passed(, ([0-9]+) tests? failed)? out of ([0-9]+).*/\3 \2/p' "$2")
  none=$(grep -c '\*\*\*Skipped' "$2" || true)
  good=$((good - none + $(pytest_count passed "$2")))
  bad=$((bad + $(pytest_count failed "$2") + $(pytest_count error "$2")))
  none=$((none + $(pytest_count skipped "$2")))
  case $1 in
    passed) ((good > 0)) || good=1 ;;
    FAILED) ((bad > 0)) || bad=1 ;;
    skipped) none=$((none + 1)) ;;
  esac
  passed=$((passed + good))
  failed=$((failed + bad))
  skipped=$((skipped + none))
}

# What a log comes to, in one line: CTest's verdict, or the last that was said.
gist() {  # LOG
  local verdict
  verdict=$(grep -E '% tests passed|[0-9]+ passed.* in [0-9.]+s' "$1" | tail -n 1) || true
  printf '%.70s' "${verdict:-$(tail -n 1 "$1")}"
}

run_step() {
  local name=$1 log=$logs/$1.log start=$SECONDS code=0 status
  printf '== %s\n' "$name"
  set +e
  (set -e; "step_$name") >"$log" 2>&1 </dev/null
  code=$?
  set -e
  case $code in
    0) status=passed ;;
    77) status=skipped ;;
    *) status=FAILED; tail -n 150 "$log" ;;
  esac
  count "$status" "$log"
  summary+=("$(printf '%-12s %-8s %5d s  %s' "$name" "$status" $((SECONDS - start)) \
    "$(gist "$log")")")
  printf '   %s after %d s\n' "$status" $((SECONDS - start))
}

for step in "${steps[@]}"; do
  declare -F "step_$step" >/dev/null || { echo "no step $step: ${all_steps[*]}" >&2; exit 2; }
done
for step in "${steps[@]}"; do run_step "$step"; done

if [[ -f $logs/dev.log ]]; then
  printf '\n'
  sed -n '/% tests passed/,$p' "$logs/dev.log"
fi
printf '\n'
printf '%s\n' "${summary[@]}"
printf '\nAll of it took %d s; logs are in %s\n' $SECONDS "${logs#"$root"/}"
((skipped == 0)) || printf '%d skipped, for want of a device or a tool\n' $skipped
printf '%d passed, %d failed\n' $passed $failed
((failed == 0))
