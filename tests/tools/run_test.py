#!/usr/bin/env python3
"""pagoda run: results, and what it says of files that are wrong."""

import json
import pathlib
import tempfile
import unittest

import small_problem
from command import pagoda, pagoda_json
from safetensors_file import Tensor, encode, header_and_data, read


class RunTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.input = pathlib.Path(folder.name) / "in.safetensors"
        self.output = pathlib.Path(folder.name) / "out.safetensors"

    def run_file(self, content):
        self.input.write_bytes(content)
        return pagoda("run", self.input, "-o", self.output)

    def run_tensors(self, tensors, metadata=None):
        return self.run_file(encode(*header_and_data(tensors, metadata)))

    def assert_close(self, got, wants):
        self.assertEqual(len(got), len(wants))
        for i, (x, y) in enumerate(zip(got, wants)):
            self.assertAlmostEqual(x, y, delta=1e-5, msg=f"element {i}")

    def assert_result(self, wants):
        result = read(self.output)
        self.assertEqual(result["out"].shape, [4, 4, 8])
        self.assertEqual(result["lse"].shape, [4, 4])
        self.assert_close(result["out"].values, wants[0])
        self.assert_close(result["lse"].values, wants[1])

    def assert_refused(self, done, *words):
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertFalse(self.output.exists(), "wrote a result")

    def test_computes_attention(self):
        tensors = small_problem.make_tensors()
        done = self.run_tensors(tensors)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("kernel:", done.stdout)
        self.assertRegex(done.stdout, r"workers: [1-9]")
        self.assert_result(small_problem.attend(tensors))

    def test_window_and_layouts_are_metadata(self):
        done = self.run_tensors(small_problem.make_tensors(head_major=True),
                                {"window_left": "2", "kv_layout": "hnd"})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_result(small_problem.attend(small_problem.make_tensors(), window_left=2))

    def test_lse_by_token(self):
        tensors = small_problem.make_tensors()
        done = self.run_tensors(tensors, {"lse_layout": "tokens_heads"})
        self.assertEqual(done.returncode, 0, done.stderr)
        wants = small_problem.attend(tensors)[1]
        transposed = [wants[head * 4 + token] for token in range(4) for head in range(4)]
        self.assert_close(read(self.output)["lse"].values, transposed)

    def test_page_table_as_csr(self):
        tensors = small_problem.make_tensors()
        wants = small_problem.attend(tensors)
        del tensors["block_table"]
        tensors["page_indptr"] = Tensor("I32", [3], [0, 3, 5])
        tensors["page_indices"] = Tensor("I32", [5], [5, 0, 3, 7, 2])
        done = self.run_tensors(tensors)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_result(wants)

    def test_out_dtype(self):
        done = self.run_tensors(small_problem.make_tensors(), {"out_dtype": "BF16"})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(read(self.output)["out"].dtype, "BF16")

    def test_tensors_need_no_alignment(self):
        tensors = {"causal_per_seq": Tensor("U8", [2], [1, 1])}  # two bytes before all others
        tensors.update(small_problem.make_tensors())
        done = self.run_tensors(tensors)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_result(small_problem.attend(tensors))

    def test_json(self):
        tensors = small_problem.make_tensors()
        self.input.write_bytes(encode(*header_and_data(tensors)))
        result = pagoda_json("run", self.input, "-o", self.output)
        self.assertEqual(result["num_tokens"], 4)
        # 4 * head_dim * num_q_heads * visible pairs.
        self.assertEqual(result["flops"], 4 * 8 * 4 * (7 + 8 + 9 + 6))

    def test_missing_file(self):
        self.assert_refused(pagoda("run", self.input, "-o", self.output), "in.safetensors")

    def test_every_truncation_is_refused(self):
        content = encode(*header_and_data(small_problem.make_tensors()))
        header_end = len(content) - len(header_and_data(small_problem.make_tensors())[1])
        cuts = [0, 1, 7, 8, 9, header_end - 1, header_end, header_end + 1, len(content) - 1]
        for cut in cuts:
            with self.subTest(bytes=cut):
                self.assert_refused(self.run_file(content[:cut]), "in.safetensors: ")

    def test_headers_that_are_wrong(self):
        cases = [
            ("not JSON", "{", "JSON"),
            ("deeply nested", "[" * 100000, "JSON"),
            ("not UTF-8 text", '{"\udcff": 1}', "JSON"),
            ("a list", "[]", "object"),
            ("a tensor that is a number", '{"q": 1}', "object"),
            ("a tensor that comes twice", '{"q": {}, "q": {}}', "twice"),
            ("metadata that is no text", '{"__metadata__": {"causal": true}}', "__metadata__"),
        ]
        for what, text, word in cases:
            with self.subTest(what):
                content = text.encode(errors="surrogateescape")
                self.assert_refused(
                    self.run_file(len(content).to_bytes(8, "little") + content), word)

    def test_absurd_header_length(self):
        for length in (2**63, 2**64 - 1, 100_000_001):
            with self.subTest(length=length):
                self.assert_refused(self.run_file(length.to_bytes(8, "little") + b"{}"),
                                    "header length", str(length))

    def test_entries_that_are_wrong(self):
        size = 4 * 4 * 8 * 4  # bytes of q, the first tensor
        cases = [
            ("unknown dtype", {"dtype": "F64"}, ["dtype", "F64", "BF16"]),
            ("dtype that is no text", {"dtype": 3}, ["dtype"]),
            ("no shape", {"shape": None}, ["shape"]),
            ("negative extent", {"shape": [-1, 4, 8]}, ["shape", "-1"]),
            ("extent that is no integer", {"shape": [4.0, 4, 8]}, ["shape"]),
            ("too many dimensions", {"shape": [4, 4, 8, 1, 1]}, ["5 dimensions"]),
            ("product beyond 64 bits", {"shape": [2**40, 2**40, 8]}, ["2^60"]),
            ("zero times a product beyond 64 bits", {"shape": [0, 2**62, 8]}, ["2^60"]),
            ("shape that does not fit", {"shape": [4, 4, 7]}, [str(size), "448"]),
            ("offsets the wrong way", {"data_offsets": [size, 0]}, ["begin <= end"]),
            ("offsets past the end", {"data_offsets": [0, 2**40]}, ["begin <= end"]),
            ("offsets near 2^64", {"data_offsets": [2**64 - 4, 2**64 - 1]}, ["begin <= end"]),
            ("one offset", {"data_offsets": [0]}, ["data_offsets"]),
            ("overlapping tensors", {"data_offsets": [4, size + 4]}, ["data_offsets"]),
        ]
        for what, change, words in cases:
            with self.subTest(what):
                header, data = header_and_data(small_problem.make_tensors())
                header["q"].update(change)
                self.assert_refused(self.run_file(encode(header, data)), '"q"', *words)

    def test_overlap_hole_and_rest(self):
        header, data = header_and_data(small_problem.make_tensors())
        header["v_pages"]["data_offsets"] = header["k_pages"]["data_offsets"]
        self.assert_refused(self.run_file(encode(header, data)), "overlaps")
        header, data = header_and_data(small_problem.make_tensors())
        del header["v_pages"]
        self.assert_refused(self.run_file(encode(header, data)), "hole")
        header, data = header_and_data(small_problem.make_tensors())
        self.assert_refused(self.run_file(encode(header, data + b"x")), "bytes after the header")

    def test_arguments_that_are_wrong(self):
        def without(name):
            tensors = small_problem.make_tensors()
            del tensors[name]
            return tensors

        def replaced(**changes):
            return {**small_problem.make_tensors(), **changes}

        cases = [
            ("no q", without("q"), {}, ["q: "]),
            ("no page table", without("block_table"), {}, ["block_table"]),
            ("unknown tensor", replaced(k=Tensor("F32", [1], [0])), {}, ['"k"', "k_pages"]),
            ("wrong dtype", replaced(seqused_k=Tensor("F32", [2], [9, 6])), {},
             ["seqused_k", "float32", "int32"]),
            ("wrong rank", replaced(q=Tensor("F32", [4, 32], [0] * 128)), {}, ["q: "]),
            ("page id out of range",
             replaced(block_table=Tensor("I32", [2, 3], [5, 0, 8, 7, 2, -1])), {},
             ["block_table", "8"]),
            ("length past the table", replaced(seqused_k=Tensor("I32", [2], [13, 6])), {},
             ["seqused_k", "13"]),
            ("unknown option", replaced(), {"scale": "1"}, ['"scale"', "softmax_scale"]),
            ("no number", replaced(), {"window_left": "two"}, ["window_left", '"two"']),
            ("number out of range", replaced(), {"window_left": "-2"}, ["window_left", "-2"]),
            ("no bool", replaced(), {"causal": "1"}, ["causal", "true or false"]),
            ("no dtype", replaced(), {"out_dtype": "F64"}, ["out_dtype"]),
        ]
        for what, tensors, metadata, words in cases:
            with self.subTest(what):
                self.assert_refused(self.run_tensors(tensors, metadata), *words)

    def test_output_that_cannot_be_written(self):
        self.input.write_bytes(encode(*header_and_data(small_problem.make_tensors())))
        done = pagoda("run", self.input, "-o", self.output / "x")
        self.assert_refused(done, "cannot be written")

    def test_output_that_is_the_input(self):
        content = encode(*header_and_data(small_problem.make_tensors()))
        self.input.write_bytes(content)
        self.output.symlink_to(self.input)
        for output in (self.input, self.output):
            with self.subTest(output=output.name):
                done = pagoda("run", self.input, "-o", output)
                self.assertEqual(done.returncode, 2)
                self.assertIn(f"--output: got {output}, which is the input", done.stderr)
                self.assertEqual(self.input.read_bytes(), content)

    def test_output_is_replaced_whole_and_alone(self):
        tensors = small_problem.make_tensors()
        self.output.write_bytes(b"x" * 100_000)
        self.assertEqual(self.run_tensors(tensors).returncode, 0)
        self.assert_result(small_problem.attend(tensors))
        self.assertEqual({path.name for path in self.input.parent.iterdir()},
                         {self.input.name, self.output.name})

    def test_output_to_a_device(self):
        self.input.write_bytes(encode(*header_and_data(small_problem.make_tensors())))
        self.assertEqual(pagoda("run", self.input, "-o", "/dev/null").returncode, 0)
        self.assertTrue(pathlib.Path("/dev/null").is_char_device())

    def test_input_that_is_a_folder(self):
        self.assert_refused(pagoda("run", self.input.parent, "-o", self.output),
                            f"{self.input.parent}: got a folder, wants a safetensors file")

    def test_json_file(self):
        self.input.write_bytes(encode(*header_and_data(small_problem.make_tensors())))
        path = self.input.with_suffix(".json")
        done = pagoda("run", self.input, "-o", self.output, "--json", path)
        self.assertIn("attention time", done.stdout)
        self.assertEqual(json.loads(path.read_text())["num_seqs"], 2)


if __name__ == "__main__":
    unittest.main()
