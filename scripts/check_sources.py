#!/usr/bin/env python3
"""Checks what clang-format does not: ASCII, file length, include guards, `using namespace`."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES = 300
MAX_KERNEL_LINES = 400  # one algorithm, one file
SUFFIXES = (".h", ".cuh", ".cc", ".cu", ".c", ".py", ".sh", ".cmake", ".md", ".txt")


def expected_guard(path: str) -> str:
    name = re.sub(r"^(include|src)/", "", path)
    name = name if name.startswith("pagoda/") else f"pagoda/{name}"
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper() + "_"


def problems(path: str) -> list[str]:
    text = (ROOT / path).read_bytes()
    found = []
    lines = text.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.isascii():
            found.append(f"{path}:{number}: not ASCII")
        if line.endswith((b" ", b"\t", b"\r")):
            found.append(f"{path}:{number}: white space at the end of the line")
    if not path.endswith((".h", ".cuh", ".cc", ".cu", ".c")):
        return found
    is_kernel = re.match(r"src/(cuda/kernels/|cpu/(kernels|attend))", path)
    limit = MAX_KERNEL_LINES if is_kernel else MAX_LINES
    if len(lines) - 1 > limit:
        found.append(f"{path}: {len(lines) - 1} lines, {limit} allowed: split it by meaning")
    if re.search(rb"^\s*using namespace", text, re.MULTILINE):
        found.append(f"{path}: `using namespace`: write the name out or alias it")
    if path.endswith((".h", ".cuh")) and f"#ifndef {expected_guard(path)}\n".encode() not in text:
        found.append(f"{path}: include guard is not {expected_guard(path)}")
    return found


def main() -> int:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [p for p in listed if p.endswith(SUFFIXES) and (ROOT / p).is_file()]
    found = [message for path in paths for message in problems(path)]
    for message in found:
        print(message)
    print(f"check_sources: {len(paths)} files, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
