"""Runs the pagoda command, whose path is in PAGODA_COMMAND."""

import json
import os
import subprocess

COMMAND = os.environ["PAGODA_COMMAND"]


def pagoda(*arguments, **environment):
    """The finished process, with stdout and stderr as text."""
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=600, env={**os.environ, **environment})


def pagoda_json(*arguments):
    """What a successful run prints with --json."""
    done = pagoda(*arguments, "--json")
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: status {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)
