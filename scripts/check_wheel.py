#!/usr/bin/env python3
"""Checks a built wheel: its tags, its size, that its extension keeps to Python's stable ABI, and that
nothing but the module's entry is visible. Run it with the Python that has abi3audit and auditwheel."""

import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

MAX_BYTES = 30 * 2**20
EXTENSION = "pagoda/_pagoda.abi3.so"


def problems(wheel: pathlib.Path) -> list[str]:
    found = []
    if "-cp311-abi3-" not in wheel.name:
        found.append("its tags are not cp311-abi3")
    if wheel.stat().st_size > MAX_BYTES:
        found.append(f"{wheel.stat().st_size} bytes, {MAX_BYTES} allowed")
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        strays = [n for n in names if not re.match(r"pagoda(_attention-[\d.]+\.dist-info)?/", n)]
        if strays:
            found.append(f"it holds {strays}")
        extension = archive.extract(EXTENSION, folder)
        listing = subprocess.run(["nm", "-D", "--defined-only", extension], check=True,
                                 capture_output=True, text=True).stdout
        visible = [line.split()[-1] for line in listing.splitlines()]
        if visible != ["PyInit__pagoda"]:
            found.append(f"visible symbols: {visible}")
    audit = subprocess.run([sys.executable, "-m", "abi3audit", "--strict", str(wheel)],
                           capture_output=True, text=True)
    if audit.returncode != 0:
        found.append(audit.stdout + audit.stderr)
    return found


def main() -> int:
    wheel = pathlib.Path(sys.argv[1])
    found = problems(wheel)
    for message in found:
        print(f"{wheel.name}: {message}")
    shown = subprocess.run([sys.executable, "-m", "auditwheel", "show", str(wheel)], check=True,
                           capture_output=True, text=True).stdout
    print("platform:", " ".join(re.findall(r"manylinux_\w+", shown)[:1]))
    print(f"check_wheel: {wheel.name}, {wheel.stat().st_size} bytes, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
