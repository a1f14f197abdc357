"""python -m pagoda doctor | bench"""

from __future__ import annotations

import sys

USAGE = """usage: python -m pagoda COMMAND [--help]

  doctor    what is installed here, and whether it computes what it should
  bench     speed of batches, beside other implementations that are installed
"""


def main(arguments: list[str]) -> int:
    command = arguments[0] if arguments else ""
    if command == "doctor":
        from .doctor import main as doctor
        return doctor(arguments[1:])
    if command == "bench":
        from .bench import main as bench
        return bench(arguments[1:])
    print(USAGE, end="")
    return 0 if command in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
