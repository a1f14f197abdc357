#!/usr/bin/env python3
"""pagoda replay: scheduling, verification, traces."""

import pathlib
import tempfile
import unittest

from command import pagoda, pagoda_json

CEILINGS = ["--ceilings", "10/0.1"]
SMALL = ["--heads", "4/2", "--head-dim", "64", *CEILINGS]
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
REQUESTS = [(100, 5), (7, 1), (300, 0), (33, 40), (1, 3)]


def cached_tokens(request):
    """The last generated token never gets into the cache."""
    return request[0] + max(0, request[1] - 1)


class ReplayTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.trace = pathlib.Path(folder.name) / "trace.csv"

    def write_trace(self, requests):
        lines = [f"2024-01-01 00:00:{i:02}.5,{context},{generated}\n"
                 for i, (context, generated) in enumerate(requests)]
        self.trace.write_text(HEADER + "".join(lines))

    def replay(self, *arguments):
        result = pagoda_json("replay", "--trace", self.trace, *SMALL, *arguments)
        self.assertEqual(result["failures"], [])
        self.assertEqual(result["num_finished"], result["num_requests"])
        return result

    def test_every_token_is_computed_once(self):
        self.write_trace(REQUESTS)
        for arguments in ([], ["--token-budget", 16, "--max-seqs", 2], ["--page-size", 1],
                          ["--token-budget", 1, "--max-seqs", 1]):
            with self.subTest(arguments):
                result = self.replay(*arguments)
                self.assertEqual(result["all"]["num_tokens"], sum(map(cached_tokens, REQUESTS)))
                by_kind = [result[kind]["num_tokens"] for kind in ("prefill", "decode", "mixed")]
                self.assertEqual(sum(by_kind), result["all"]["num_tokens"])

    def test_steps_of_one_request(self):
        self.write_trace([(100, 5)])
        result = self.replay("--token-budget", 32, "--page-size", 8)
        self.assertEqual(result["prefill"]["num_steps"], 4)  # 32, 32, 32, 4
        self.assertEqual(result["decode"]["num_steps"], 4)
        self.assertEqual(result["mixed"]["num_steps"], 0)
        self.assertEqual(result["peak_pages"], 13)  # of 104 tokens

    def test_pages_are_used_again(self):
        self.write_trace([(64, 17)] * 10)
        result = self.replay("--cache-tokens", 160)
        self.assertEqual(result["num_pages"], 10)
        self.assertEqual(result["peak_pages"], 10)

    def test_verifies_each_kind_and_every_nth_step(self):
        self.write_trace(REQUESTS)
        often = self.replay("--verify-every", 1, "--token-budget", 64)
        self.assertEqual(often["num_verified_steps"], often["all"]["num_steps"])
        seldom = self.replay("--verify-every", 1000, "--token-budget", 64)
        kinds = sum(seldom[kind]["num_steps"] > 0 for kind in ("prefill", "decode", "mixed"))
        self.assertEqual(seldom["num_verified_steps"], kinds)
        self.assertEqual(self.replay("--verify-every", 0)["num_verified_steps"], 0)

    def test_types_and_layouts(self):
        self.write_trace(REQUESTS)
        for arguments in (["--kv-dtype", "e4m3"], ["--kv-dtype", "int8", "--layout", "hnd"],
                          ["--dtype", "f32", "--window-left", 20], ["--dtype", "e4m3"]):
            with self.subTest(arguments):
                self.replay(*arguments, "--verify-every", 5)

    def test_made_up_trace(self):
        done = pagoda("replay", "--requests", 3, *SMALL)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for word in ("3 of 3 finished", "tokens/s", "p99", "in use at the peak",
                     "all within its bounds"):
            self.assertIn(word, done.stdout)

    def test_requests_are_limited(self):
        self.write_trace(REQUESTS)
        self.assertEqual(self.replay("--requests", 2)["num_requests"], 2)

    def test_columns_may_stand_in_any_order(self):
        self.trace.write_text("GeneratedTokens,ContextTokens,TIMESTAMP\r\n2,10,now\r\n\r\n")
        self.assertEqual(self.replay()["all"]["num_tokens"], 11)

    def test_stops_early(self):
        self.write_trace([(4000, 4000)] * 8)
        done = pagoda("replay", "--trace", self.trace, "--max-seconds", 0.1, *CEILINGS)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Stopped after", done.stdout)

    def test_wrong_traces(self):
        cases = [("", "empty"), ("a,b\n1,2\n", "TIMESTAMP"), (HEADER, "no requests"),
                 (HEADER + "t,1\n", "2 cells"), (HEADER + "t,0,1\n", ":2: ContextTokens"),
                 (HEADER + "t,1,-1\n", "GeneratedTokens"), (HEADER + "t,1,1\nt,x,1\n", ":3: "),
                 (HEADER + "t,99999999999,1\n", "99999999999"),
                 (HEADER + "t,1 ,1\n", "ContextTokens")]
        for text, word in cases:
            with self.subTest(text):
                self.trace.write_text(text)
                done = pagoda("replay", "--trace", self.trace)
                self.assertEqual(done.returncode, 2)
                self.assertIn(word, done.stderr)

    def test_limits_that_do_not_fit(self):
        self.write_trace(REQUESTS)
        for arguments, word in ((["--cache-tokens", 128], "--cache-tokens"),
                                (["--max-seqs", 9, "--token-budget", 8], "--token-budget")):
            with self.subTest(arguments):
                done = pagoda("replay", "--trace", self.trace, *arguments, *CEILINGS)
                self.assertEqual(done.returncode, 2)
                self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main()
