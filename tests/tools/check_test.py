#!/usr/bin/env python3
"""pagoda check: case lines, grids and files."""

import pathlib
import tempfile
import unittest

import small_problem
from command import pagoda, pagoda_json
from safetensors_file import encode, header_and_data

LINE = "seqs=5x18,1x130 heads=8/2 d=128 page=8"


class CheckTest(unittest.TestCase):

    def test_case_line(self):
        done = pagoda("check", "--case", LINE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(LINE, done.stdout)
        self.assertIn("1 of 1 agree", done.stdout)

    def test_random_cases_depend_on_the_seed(self):
        def lines(seed):
            result = pagoda_json("check", "--grid", "random", "--count", 3, "--seed", seed)
            self.assertEqual(result["num_checked"], 3)
            self.assertEqual(result["num_failed"], 0, result)
            return [problem["name"] for problem in result["problems"]]

        self.assertEqual(lines(1), lines(1))
        self.assertNotEqual(lines(1), lines(2))

    def test_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "in.safetensors"
            path.write_bytes(encode(*header_and_data(small_problem.make_tensors())))
            result = pagoda_json("check", path)
        self.assertEqual([problem["ok"] for problem in result["problems"]], [True])
        self.assertGreater(result["problems"][0]["max_error_allowed"], 0.0)

    def test_wrong_lines(self):
        for line, word in (("heads=8/2", "seqs"), (LINE + " colour=1", "colour"),
                           (LINE + " d=128", "second"), ("seqs=1x1 d=7", "multiple of 8 in [8, 256]"),
                           ("seqs=1x1 d=264", "multiple of 8 in [8, 256]")):
            with self.subTest(line):
                done = pagoda("check", "--case", line)
                self.assertEqual(done.returncode, 2)
                self.assertIn(word, done.stderr)

    def test_wrong_grid(self):
        self.assertEqual(pagoda("check", "--grid", "all").returncode, 2)


if __name__ == "__main__":
    unittest.main()
