#!/usr/bin/env python3
"""Checks the #include lines of the tree against the dependency rules of docs/design.md."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# What the files of a layer may include, besides their own layer and the standard library. A layer
# is the longest folder below that holds the file.
PUBLIC = "include/pagoda"
SHARED = {"src/plan", "src/semantics", "src/core", PUBLIC}
DEVICE = {"src/cuda", "src/cuda/kernels", "src/cuda/tile", "src/cuda/sm90"}
TESTING = "tests (oracle and cases)"
ALLOWED = {
    PUBLIC: set(),
    "src/core": {PUBLIC},
    "src/semantics": {"src/core"},
    "src/plan": {"src/semantics", "src/core"},
    "src/cpu": SHARED,
    "src/cuda": SHARED | {"src/cuda/kernels", "src/cuda/sm90"},
    "src/cuda/sm90": {"src/core"},
    "src/cuda/tile": {"src/cuda/sm90", "src/core"},
    "src/cuda/kernels": SHARED | DEVICE,
    "src/api": SHARED | {"src/cpu", "src/cuda"},
    TESTING: {PUBLIC},
    "tests": SHARED | DEVICE | {"src/cpu", "src/api", TESTING},
    "tools": {PUBLIC, TESTING},
    "bench": {PUBLIC, TESTING},
    "bench/cpu": SHARED | {"src/cpu"},
    "bench/micro": SHARED | DEVICE,
    "examples": {PUBLIC},
    "python": {PUBLIC},
}

# The second opinion on what the library computes: it may share no code with the library.
TESTING_FILE = re.compile(r"tests/(oracle|cases|build_case|case_grids|verify)[^/]*$")

# A public header needs nothing that a host compiler and its standard library do not have.
FOREIGN = re.compile(r"(cuda|cublas|nv|driver_types|vector_types|torch|ATen|c10|immintrin|arm_)")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SUFFIXES = (".h", ".cuh", ".cc", ".cu", ".c")


def layer_of(path: str) -> str | None:
    if TESTING_FILE.match(path):
        return TESTING
    folders = [layer for layer in ALLOWED if path.startswith(layer + "/")]
    return max(folders, key=len) if folders else None


def resolve(path: str, included: str) -> str | None:
    """The tree's file that `path` includes as `included`; None if it is none of the tree's."""
    folders = [pathlib.PurePosixPath(path).parent.as_posix(), "include", "src", "tests"]
    candidates = [f"{folder}/{included}" for folder in folders]
    return next((c for c in candidates if (ROOT / c).is_file()), None)


def violations(path: str) -> list[str]:
    layer = layer_of(path)
    found = []
    for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, included = match.groups()
        where = f"{path}:{number}: #include {quote}{included}{'>' if quote == '<' else quote}"
        if layer == PUBLIC and FOREIGN.match(included):
            found.append(f"{where}: a public header may include no such header")
        target = resolve(path, included)
        if target is None:
            # A name without a folder is made by the build.
            if quote == '"' and "/" in included and layer and layer.startswith(("src", "include")):
                found.append(f"{where}: no such file in include, src or tests")
            continue
        target_layer = layer_of(target)
        if target_layer != layer and target_layer not in ALLOWED[layer]:
            may = ", ".join(sorted(ALLOWED[layer])) or "nothing of the project"
            found.append(f"{where}: {layer} may include {may}; not {target_layer}")
    return found


def main() -> int:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [p for p in listed if p.endswith(SUFFIXES) and layer_of(p) and (ROOT / p).is_file()]
    found = [message for path in paths for message in violations(path)]
    for message in found:
        print(message)
    print(f"check_layers: {len(paths)} files, {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
