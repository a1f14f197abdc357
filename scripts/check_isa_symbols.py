#!/usr/bin/env python3
"""Checks that the CPU kernels of each instruction set keep everything but their table private.

Each set's kernels are compiled from the same headers with that set's compiler flags. If such an
object defined, say, an inline function of the standard library as a weak symbol, the linker could
take that copy for the whole program, and a narrower processor would meet an illegal instruction.
"""

import pathlib
import re
import subprocess
import sys

# The one symbol that cpu/kernel_table.cc takes from an object.
TABLE = re.compile(r"[DRB] pagoda::cpu::kKernels\w+")


def defined_symbols(path: pathlib.Path) -> list[str]:
    """"TYPE name" of each global or weak symbol that the object defines."""
    listing = subprocess.run(["nm", "--demangle", "--defined-only", "--extern-only", str(path)],
                             check=True, capture_output=True, text=True).stdout
    return [line.split(maxsplit=1)[1] for line in listing.splitlines() if line]


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: check_isa_symbols.py BUILD_DIR (an optimised build)", file=sys.stderr)
        return 2
    objects = sorted(pathlib.Path(sys.argv[1]).glob("**/cpu/kernels_*.cc.o"))
    failures = 0
    for path in objects:
        symbols = defined_symbols(path)
        tables = [s for s in symbols if TABLE.fullmatch(s)]
        others = [s for s in symbols if s not in tables]
        for symbol in others:
            print(f"{path.name}: defines {symbol}: give it internal linkage or inline it")
        if len(tables) != 1:
            print(f"{path.name}: {len(tables)} kernel tables, expected 1")
        failures += bool(others) or len(tables) != 1
    print(f"check_isa_symbols: {len(objects)} objects, {failures} with problems")
    return 1 if failures or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
