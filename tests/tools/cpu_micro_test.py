#!/usr/bin/env python3
"""cpu_micro: every measurement is there once and makes sense."""

import unittest

from command import pagoda as cpu_micro
from command import pagoda_json as cpu_micro_json

QUICK = ["--min-time", "0", "--megabytes", "64"]


class CpuMicroTest(unittest.TestCase):

    def test_measures_everything(self):
        result = cpu_micro_json("--threads", 2, *QUICK)
        self.assertEqual(result["max_threads"], 2)
        count = {}
        for row in result["results"]:
            count[row["bench"]] = count.get(row["bench"], 0) + 1
            self.assertIn(row["threads"], ("1", "2"))
            if row["unit"] in ("GB/s", "TFLOP/s"):
                self.assertGreater(row["value"], 0, row)
                self.assertTrue(0 < row["cpu_share"] < 1.1, row)
        self.assertIn(count.pop("compute"), (2, 4))  # with or without products of bf16 pairs
        self.assertIn(count.pop("fork_join"), (2, 4, 6))  # no time where another process had a CPU
        self.assertEqual(count, {"stream_read": 2 * 2, "page_read": 2 * 4 * 3 * 2 * 2})

    def test_runs_what_is_named(self):
        done = cpu_micro("compute", "--threads", 1, *QUICK)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("TFLOP/s", done.stdout)
        self.assertNotIn("GB/s", done.stdout)

    def test_wrong_arguments(self):
        for arguments, word in ((["page"], "page"), (["--threads", "0"], "--threads"),
                                (["--megabytes", "x"], "--megabytes")):
            done = cpu_micro(*arguments)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main()
