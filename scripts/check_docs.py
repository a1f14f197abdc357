#!/usr/bin/env python3
"""Checks that the documents tell the truth about the tree: files that they name exist, and code
blocks that say which example they come from are in it, line for line."""

import glob
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("include", "src", "tests", "tools", "bench", "examples", "docs", "scripts", "cmake",
           "python", ".ci", "pagoda")

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`([^`\s]+)`")
PATH = re.compile(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./{{}},*<>-]*")
EXCERPT = re.compile(r"<!-- from (\S+) -->\n```\w*\n(.*?)```", re.DOTALL)


def exists(name: str) -> bool:
    """`name` may hold {a,b}, * and <placeholder>; every alternative must match something."""
    braces = re.search(r"\{([^}]*)\}", name)
    if braces:
        head, tail = name[:braces.start()], name[braces.end():]
        return all(exists(head + part + tail) for part in braces.group(1).split(","))
    pattern = re.sub(r"<[^>]*>", "*", name)
    roots = [ROOT, ROOT / "include"] if name.startswith("pagoda/") else [ROOT]
    return any(glob.glob(str(root / pattern), recursive=True) for root in roots)


def problems(document: pathlib.Path) -> list[str]:
    text = document.read_text()
    shown = document.relative_to(ROOT)
    found = []
    for target in LINK.findall(text):
        if not re.match(r"[a-z]+:", target) and not (document.parent / target).exists():
            found.append(f"{shown}: link to {target}, which does not exist")
    for name in CODE.findall(text):
        if PATH.fullmatch(name) and not exists(name):
            found.append(f"{shown}: names `{name}`, which does not exist")
    for source, block in EXCERPT.findall(text):
        if not (ROOT / source).is_file():
            found.append(f"{shown}: excerpt of {source}, which does not exist")
        elif undented(block) not in undented_windows(ROOT / source, block.count("\n")):
            found.append(f"{shown}: code block is not in {source}")
    return found


def undented(block: str) -> str:
    lines = block.splitlines()
    margin = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
    return "\n".join(x[margin:].rstrip() for x in lines)


def undented_windows(path: pathlib.Path, size: int) -> set[str]:
    lines = path.read_text().splitlines()
    return {undented("\n".join(lines[i:i + size])) for i in range(len(lines) - size + 1)}


def main() -> int:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    documents = [ROOT / p for p in listed if (ROOT / p).is_file()]
    found = [message for document in documents for message in problems(document)]
    for message in found:
        print(message)
    print(f"check_docs: {len(documents)} documents, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
