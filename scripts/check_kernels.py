#!/usr/bin/env python3
"""Prints what each CUDA kernel of the library takes of an SM, and fails if one spills registers.

Reads what ptxas said when the library was compiled: scripts/keep_ptxas_report.sh keeps it. Dynamic
shared memory is not in it: tests/cuda/kernel_table_test.cc checks and prints that.
"""

import json
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass

KERNEL_FOLDERS = ("generated", "kernels", "cache")
ENTRY = re.compile(r"Compiling entry function '(\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
STATIC_SMEM = re.compile(r"(\d+) bytes smem")


@dataclass
class Kernel:
    name: str
    registers: int = 0
    static_smem: int = 0
    stack: int = 0
    spilled: int = 0

    @property
    def is_clean(self) -> bool:
        return self.registers > 0 and self.spilled == 0


def number(pattern: re.Pattern, text: str, group: int = 1) -> int:
    match = pattern.search(text)
    return int(match.group(group)) if match else 0


def kernels_of(report: str) -> list[Kernel]:
    pieces = ENTRY.split(report)[1:]
    return [Kernel(name, registers=number(USED, text), static_smem=number(STATIC_SMEM, text),
                   stack=number(STACK, text), spilled=number(STACK, text, 2) + number(STACK, text, 3))
            for name, text in zip(pieces[::2], pieces[1::2])]


def demangled(kernels: list[Kernel]) -> list[str]:
    names = subprocess.run(["c++filt"], input="\n".join(k.name for k in kernels),
                           check=True, capture_output=True, text=True).stdout.splitlines()
    # Without return type, arguments and namespace.
    return [re.sub(r"^void |pagoda::(cuda::)?|\((?!anonymous|int|bool).*$|\((int|bool)\)", "", name)
            for name in names]


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: check_kernels.py BUILD_DIR (with CUDA and PAGODA_KERNEL_REPORTS)", file=sys.stderr)
        return 2
    build = pathlib.Path(sys.argv[1])
    sources = [c for c in json.loads((build / "compile_commands.json").read_text())
               if c["file"].endswith(".cu") and pathlib.Path(c["file"]).parent.name in KERNEL_FOLDERS]
    kernels = [k for s in sources for k in kernels_of((build / f"{s['output']}.ptxas").read_text())]
    print(f"{'registers':>9} {'static smem':>11} {'stack':>6} {'spilled':>7}  kernel")
    for kernel, name in sorted(zip(kernels, demangled(kernels)), key=lambda row: row[1]):
        print(f"{kernel.registers:9} {kernel.static_smem:11} {kernel.stack:6} {kernel.spilled:7}  {name}"
              f"{'' if kernel.is_clean else '  <- spills'}")
    failures = sum(not kernel.is_clean for kernel in kernels)
    print(f"check_kernels: {len(kernels)} kernels, {failures} that spill")
    return 1 if failures or not kernels else 0


if __name__ == "__main__":
    sys.exit(main())
