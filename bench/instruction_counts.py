#!/usr/bin/env python3
"""Counts the instructions that three fixed batches take on one thread, by valgrind's callgrind, and compares
them with what is recorded: a change that makes kernels do more work shows, however busy the machine is.

    scripts/instruction_counts.sh             # builds what is counted, and compares
    scripts/instruction_counts.sh --update    # records what is counted now

Counts are the same in every run, but other compilers make other code: the record names the one it is of.
valgrind of Debian 12 knows no AVX-512, so the portable and the AVX2 kernels are counted. What is counted is
unified_attention(): planning and computing.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

RECORD = pathlib.Path(__file__).with_name("instruction_counts.json")
SKIPPED = 77  # exit status, as scripts/test.sh takes it
TOLERANCE = 0.02  # of a recorded count; a larger one is a regression
ISAS = ("portable", "avx2")
GEOMETRY = ["--heads", "8/2", "--head-dim", "128", "--dtype", "bf16", "--page-size", "16"]
BATCHES = {
    "decode": ["2q1s1k"],
    "prefill": ["q96s256"],
    "mixed": ["q64s128_4q1s300_q5s200"],
}


def count(program: str, isa: str, batch: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "callgrind.out"
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
             "--toggle-collect=pagoda::unified_attention(*", program, *batch, *GEOMETRY],
            env={**os.environ, "PAGODA_CPU_ISA": isa, "PAGODA_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{program} {' '.join(batch)} with {isa} failed:\n{done.stderr}")
        total = re.search(r"^totals: (\d+)$", out.read_text(), re.MULTILINE)
    if total is None or int(total.group(1)) == 0:
        sys.exit("callgrind counted nothing: is pagoda::unified_attention still what computes?")
    return int(total.group(1))


def compiler_of(program: str) -> str:
    """As it names itself in the program."""
    text = subprocess.run(["readelf", "-p", ".comment", program], capture_output=True, text=True,
                          check=True).stdout
    return "; ".join(sorted(set(re.findall(r"\]\s+(.*\S)", text))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True, help="counted_batch, as bench/cpu builds it")
    parser.add_argument("--update", action="store_true", help="record what is counted now")
    options = parser.parse_args()
    compiler = compiler_of(options.program)
    counts = {isa: {name: count(options.program, isa, batch) for name, batch in BATCHES.items()}
              for isa in ISAS}
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"counts": {}}
    worst = 0.0
    print(f"{'isa':10} {'batch':8} {'instructions':>14} {'recorded':>14} {'ratio':>8}")
    for isa, of_batch in counts.items():
        for name, now in of_batch.items():
            before = record["counts"].get(isa, {}).get(name)
            ratio = now / before if before else float("nan")
            worst = max(worst, ratio)
            print(f"{isa:10} {name:8} {now:14,} {before or 0:14,} {ratio:8.3f}")
    if options.update:
        RECORD.write_text(json.dumps({"compiler": compiler, "counts": counts}, indent=2) + "\n")
        print(f"recorded in {RECORD.name}")
        return 0
    if record.get("compiler") != compiler:
        print(f"skipped: recorded of {record.get('compiler')}, counted of {compiler}")
        return SKIPPED
    if worst > 1 + TOLERANCE:
        print(f"FAILED: a batch takes more than {TOLERANCE:.0%} more instructions than recorded; if that is "
              "worth it, say why in docs/performance.md and run with --update")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
