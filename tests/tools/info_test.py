#!/usr/bin/env python3
"""pagoda info, and what all subcommands have in common."""

import unittest

from command import pagoda, pagoda_json


class InfoTest(unittest.TestCase):

    def test_says_what_runs_here(self):
        done = pagoda("info", "--no-ceilings")
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in ("processor", "instruction set", "threads", "GPU", "CUDA backend"):
            self.assertIn(name, done.stdout)

    def test_threads(self):
        self.assertEqual(pagoda_json("info", "--no-ceilings", "--threads", 1)["num_threads"], 1)

    def test_ceilings(self):
        ceilings = pagoda_json("info", "--threads", 1)["ceilings"]
        self.assertEqual(ceilings["num_threads"], 1)
        # Between a very slow and an impossible core.
        self.assertTrue(0.1 < ceilings["read_gb_per_s"] < 1000, ceilings)
        self.assertTrue(0.0005 < ceilings["f32_fma_tflop_per_s"] < 1, ceilings)

    def test_every_subcommand_has_an_example(self):
        for name in ("info", "run", "check", "bench", "replay"):
            with self.subTest(name):
                done = pagoda(name, "--help")
                self.assertEqual(done.returncode, 0)
                self.assertIn(f"pagoda {name} ", done.stdout[done.stdout.index("Example"):])

    def test_wrong_usage(self):
        for arguments in ([], ["sing"], ["info", "--loud"], ["info", "--threads", 0]):
            with self.subTest(arguments):
                done = pagoda(*arguments)
                self.assertEqual(done.returncode, 2)
                self.assertNotEqual(done.stderr, "")

    def test_wrong_subcommand_is_named(self):
        for arguments, got in ((["sing"], "sing"), ([], "none"), (["--loud"], "--loud")):
            with self.subTest(got):
                self.assertEqual(pagoda(*arguments).stderr,
                                 f"pagoda: subcommand: got {got}, wants one of info, check, run, "
                                 "bench, replay; --help says more\n")

    def test_wrong_environment_is_named(self):
        for name, value, wants in (("PAGODA_NUM_THREADS", "abc", "wants a number from 1 to 1024"),
                                   ("PAGODA_NUM_THREADS", "0", "wants a number from 1 to 1024"),
                                   ("PAGODA_CPU_ISA", "mmx", "wants one of portable")):
            with self.subTest(name=name, value=value):
                done = pagoda("check", "--case", "seqs=1x1", **{name: value})
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertIn(f"{name}: got {value}, {wants}", done.stderr)
                self.assertIn("; unset it", done.stderr)

    def test_version(self):
        self.assertRegex(pagoda("--version").stdout, r"^pagoda \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main()
