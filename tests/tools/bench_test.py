#!/usr/bin/env python3
"""pagoda bench: what it counts, and its options."""

import json
import pathlib
import tempfile
import unittest

from command import pagoda, pagoda_json

SMALL = ["--heads", "4/2", "--head-dim", "64", "--min-time", "0.01", "--ceilings", "10/0.1"]


def visible_pairs(q_len, k_len, window_left=None):
    total = 0
    for position in range(k_len - q_len, k_len):
        total += min(position, position if window_left is None else window_left) + 1
    return total


class BenchTest(unittest.TestCase):

    def test_counts_bytes_and_flops(self):
        result = pagoda_json("bench", "q40_2q3s64", *SMALL)
        batch, = result["batches"]
        tokens = 40 + 2 * 3
        kv_bytes = (40 + 2 * 64) * 2 * 2 * 64 * 2
        self.assertEqual(batch["bytes"], kv_bytes + tokens * 2 * 4 * 64 * 2)
        self.assertEqual(batch["flops"],
                         4 * 64 * 4 * (visible_pairs(40, 40) + 2 * visible_pairs(3, 64)))
        self.assertGreaterEqual(batch["num_calls"], 3)
        self.assertGreater(batch["num_kv_sets"], 1)
        self.assertAlmostEqual(batch["gb_per_s"], batch["bytes"] / batch["seconds"] / 1e9)
        roof = max(batch["bytes"] / 10e9, batch["flops"] / 0.1e12)
        self.assertAlmostEqual(batch["roof_share"], roof / batch["seconds"])

    def test_names_its_workers(self):
        for threads in (1, 2):
            batch, = pagoda_json("bench", "q8", "--threads", threads, *SMALL)["batches"]
            self.assertEqual(batch["num_workers"], threads)

    def test_measures_ceilings_around_each_batch(self):
        result = pagoda_json("bench", "q1s300", "q64", "--min-time", "0.01")
        first, second = result["batches"]
        self.assertEqual(first["ceilings_after"], second["ceilings_before"])
        for batch in (first, second):
            before, after = batch["ceilings_before"], batch["ceilings_after"]
            for rate in ("read_gb_per_s", "f32_fma_tflop_per_s"):
                self.assertGreater(before[rate], 0)
                self.assertNotEqual(before[rate], after[rate])
                self.assertGreaterEqual(result["ceilings"][rate], max(before[rate], after[rate]))
                self.assertTrue(0 < after["cpu_share"] <= 1, after)
            binding = max(before["read_gb_per_s"], after["read_gb_per_s"])
            if batch["roof"].startswith("read"):
                self.assertEqual(batch["roof"], f"read {binding:.1f} GB/s")
                self.assertAlmostEqual(batch["roof_share"],
                                       batch["bytes"] / batch["seconds"] / binding / 1e9)

    def test_k_is_1024_and_a_window_hides_keys(self):
        batch, = pagoda_json("bench", "q2s1k", "--window-left", 9, *SMALL)["batches"]
        self.assertEqual(batch["flops"], 4 * 64 * 4 * visible_pairs(2, 1024, window_left=9))

    def test_types_and_layouts(self):
        for arguments in (["--dtype", "f32"], ["--dtype", "f16", "--layout", "hnd"],
                          ["--kv-dtype", "e4m3"], ["--kv-dtype", "e5m2", "--page-size", "7"],
                          ["--kv-dtype", "int8", "--layout", "hnd"], ["--dtype", "e4m3"]):
            with self.subTest(arguments):
                done = pagoda("bench", "q20_3q1s70", *arguments, *SMALL)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("q20_3q1s70", done.stdout)

    def test_json_file_beside_the_table(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "bench.json"
            done = pagoda("bench", "q8", *SMALL, "--json", path)
            self.assertIn("TFLOP/s", done.stdout)
            self.assertEqual(json.loads(path.read_text())["geometry"]["num_kv_heads"], 2)

    def test_wrong_arguments(self):
        ceilings = ["--ceilings", "1/1"]
        cases = [(["q0"], "q0"), (["q4s2"], "q4s2"), (["3"], "3"), (["q1_"], "q1_"),
                 (["q99999999"], "q99999999"), (["q1x"], "q1x"), (["_q1"], "_q1"),
                 (["q1", "--heads", "3/2"], "3/2"), (["q1", "--dtype", "int8"], "int8"),
                 (["q1", "--preset", "all"], "preset"),
                 (["--json", "q1"], "FILE.json"),
                 (["q1", "--ceilings", "10"], "--ceilings"),
                 (["q1", "--ceilings", "10/0"], "--ceilings"),
                 (["q1", "--head-dim", "20", *ceilings], "head_dim"),
                 (["q1", "--kv-dtype", "f16", *ceilings], "k_pages"),
                 (["60000q1s16000k", *ceilings], "memory")]
        for arguments, word in cases:
            with self.subTest(arguments):
                done = pagoda("bench", *arguments)
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main()
