#!/usr/bin/env python3
"""Pagoda beside PyTorch's CPU attention in one run: SDPA and FlexAttention, on contiguous K and V, on K and
V that are gathered from pages in the measured time, and on FlexAttention's own pages.

    python3 bench/compare_cpu.py --command build/dev/tools/pagoda/pagoda [--threads 2] [--json FILE]

Wants PyTorch with its CPU kernels and, for FlexAttention, a C++ compiler; nothing else in the project does.
SDPA gets its heads expanded beforehand where K and V are contiguous, which flatters it. Pagoda reads pages of
16 tokens in random order, and for decode also pages as make_kv_cache lays them out. K and V rotate through
sets that no cache holds. Before anything is timed, each peer's result is held to SDPA's in float32.
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable

import torch
from torch.nn.attention import flex_attention as flex

HEADS, KV_HEADS, HEAD_DIM, PAGE = 32, 8, 128, 16
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
L3_BYTES_TO_PASS = 96 << 20  # of other K and V between two uses of a set
LARGEST_ERROR = 0.05  # of an output of order 1 in bfloat16; a wrong mask or page is off by more

# Measured elsewhere and on other days on a machine of this kind (2 cores of Zen 4), with contiguous K and V
# and 2 threads; they were not run here. GFLOP/s of prefill, GB/s of decode.
OTHER_DAYS = [
    ("prefill 512 x 4096", "llama.cpp", "f16", "48 to 62 GFLOP/s"),
    ("prefill 512 x 4096", "llama.cpp", "bf16", "8 GFLOP/s"),
    ("prefill 512 x 4096", "llama.cpp", "f32", "32 GFLOP/s"),
    ("prefill 512 x 4096", "ik_llama.cpp", "bf16", "179 to 200 GFLOP/s"),
    ("prefill 512 x 4096", "ik_llama.cpp", "f16", "127 GFLOP/s"),
    ("decode 1 x 4096", "llama.cpp, token-major", "f16", "5.1 to 5.3 GB/s"),
    ("decode 1 x 4096", "llama.cpp, head-major", "f16", "6.7 to 8.0 GB/s"),
    ("decode 1 x 4096", "ik_llama.cpp, token-major", "bf16", "5.8 to 9.2 GB/s"),
    ("decode 1 x 4096", "ik_llama.cpp, head-major", "bf16", "12 to 16 GB/s"),
]


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    batch: str  # in the grammar of `pagoda bench`
    q_len: int
    k_len: int

    @property
    def is_decode(self) -> bool:
        return self.q_len == 1


CASES = {"prefill": Case("prefill 512 x 4096", "q512s4k", 512, 4096),
         "decode": Case("decode 1 x 4096", "q1s4k", 1, 4096)}


class Problem:
    """Random q, and pages of K and V in random order, as many sets as pass through the caches."""

    def __init__(self, case: Case, dtype: torch.dtype):
        self.case, self.dtype = case, dtype
        set_bytes = 2 * case.k_len * KV_HEADS * HEAD_DIM * dtype.itemsize
        self.num_sets = 1 + L3_BYTES_TO_PASS // set_bytes
        num_pages = case.k_len // PAGE
        self.q = torch.randn(1, HEADS, case.q_len, HEAD_DIM, dtype=dtype)
        self.pages = [torch.randn(self.num_sets * num_pages, PAGE, KV_HEADS, HEAD_DIM, dtype=dtype)
                      for _ in "kv"]
        self.order = torch.randperm(self.num_sets * num_pages).view(self.num_sets, num_pages)

    def gathered(self, i: int) -> list[torch.Tensor]:
        """K and V of set i, [1, KV_HEADS, k_len, HEAD_DIM]: a copy in the order of the tokens."""
        return [p[self.order[i % self.num_sets]].view(1, self.case.k_len, KV_HEADS, HEAD_DIM).transpose(1, 2)
                for p in self.pages]

    def contiguous_sets(self) -> list[list[torch.Tensor]]:
        return [[x.contiguous() for x in self.gathered(i)] for i in range(self.num_sets)]

    def causal_mask(self) -> torch.Tensor | None:
        if self.case.is_decode:
            return None
        mask = torch.ones(self.case.q_len, self.case.k_len, dtype=torch.bool)
        return mask.tril(self.case.k_len - self.case.q_len)

    def expected(self) -> torch.Tensor:
        k, v = (x.float() for x in self.gathered(0))
        return torch.nn.functional.scaled_dot_product_attention(
            self.q.float(), k, v, attn_mask=self.causal_mask(), enable_gqa=True)


Call = Callable[[int], torch.Tensor]  # of the set's number


def with_all_heads(x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(HEADS // KV_HEADS, dim=1)


def sdpa_contiguous(problem: Problem) -> Call:
    sets = [[with_all_heads(x) for x in kv] for kv in problem.contiguous_sets()]
    mask = problem.causal_mask()
    return lambda i: torch.nn.functional.scaled_dot_product_attention(
        problem.q, *sets[i % problem.num_sets], attn_mask=mask)


def sdpa_gathering(problem: Problem) -> Call:
    mask = problem.causal_mask()
    return lambda i: torch.nn.functional.scaled_dot_product_attention(
        problem.q, *(with_all_heads(x) for x in problem.gathered(i)), attn_mask=mask)


def flex_mask(problem: Problem, page: int = 128) -> flex.BlockMask:
    q_len, k_len = problem.case.q_len, problem.case.k_len
    return flex.create_block_mask(lambda b, h, i, j: j <= i + (k_len - q_len), 1, 1, q_len, k_len,
                                  device="cpu", BLOCK_SIZE=(128, page))


def compiled_flex() -> Callable[..., torch.Tensor]:
    torch.compiler.reset()
    return torch.compile(flex.flex_attention)


def flex_contiguous(problem: Problem) -> Call:
    sets = problem.contiguous_sets()
    mask, attend = flex_mask(problem), compiled_flex()
    return lambda i: attend(problem.q, *sets[i % problem.num_sets], block_mask=mask, enable_gqa=True)


def flex_gathering(problem: Problem) -> Call:
    mask, attend = flex_mask(problem), compiled_flex()
    return lambda i: attend(problem.q, *(x.contiguous() for x in problem.gathered(i)), block_mask=mask,
                            enable_gqa=True)


def flex_paged(problem: Problem) -> Call:
    """On the pages of FlexAttention: [1, KV_HEADS, num_pages * page, HEAD_DIM], one table row a set. A mask
    is converted once a step, as an engine would, and is not in the measured time."""
    from torch.nn.attention.experimental._paged_attention import PagedAttention
    page = 128  # the least that its kernels for the CPU take in every case
    k_len, num_sets = problem.case.k_len, problem.num_sets
    num_pages = num_sets * k_len // page
    paged = PagedAttention(num_pages, page, num_sets, device="cpu")
    paged.empty_pages = torch.randperm(num_pages).tolist()
    caches = [torch.empty(1, KV_HEADS, num_pages * page, HEAD_DIM, dtype=problem.dtype) for _ in "kv"]
    mask = flex_mask(problem, page)
    masks = []
    for i in range(num_sets):
        index = torch.tensor([i])
        paged.reserve(index, torch.tensor(k_len))
        paged.assign(index, torch.arange(k_len)[None], *problem.gathered(i), *caches)
        masks.append(paged.convert_logical_block_mask(mask, batch_idx=index))
    attend = compiled_flex()
    return lambda i: attend(problem.q, *caches, block_mask=masks[i % num_sets], enable_gqa=True)


PEERS = {
    "SDPA, contiguous": sdpa_contiguous,
    "SDPA, gathers pages": sdpa_gathering,
    "Flex, contiguous": flex_contiguous,
    "Flex, gathers pages": flex_gathering,
    "Flex, its own pages": flex_paged,
}


def seconds_per_call(call: Call, min_seconds: float) -> float:
    """Median of calls, of which the first is not counted."""
    call(0)
    samples: list[float] = []
    begin = time.perf_counter()
    while len(samples) < 3 or time.perf_counter() - begin < min_seconds:
        start = time.perf_counter()
        call(len(samples) + 1)
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def peer_seconds(peer: str, problem: Problem, min_seconds: float) -> tuple[float | None, str]:
    """The time of a call, or None and why there is none."""
    try:
        call = PEERS[peer](problem)
        error = (call(0).float() - problem.expected()).abs().max().item()
    except Exception as failure:  # a peer's own limits are no reason to stop
        return None, f"{type(failure).__name__}: {str(failure).splitlines()[0][:100]}"
    if not error <= LARGEST_ERROR:
        return None, f"wrong by {error:.3g}"
    return seconds_per_call(call, min_seconds), ""


def pagoda(options: argparse.Namespace, case: Case, dtype: str) -> list[dict]:
    """Timed by the command: token-major pages of 16, and for decode those of make_kv_cache too."""
    layouts = [["--layout", "nhd", "--page-size", str(PAGE)]]
    if case.is_decode:
        layouts.append(["--layout", "hnd", "--page-size", "64"])
    results = []
    for layout in layouts:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            subprocess.run([options.command, "bench", case.batch, "--dtype", dtype, *layout, "--threads",
                            str(options.threads), "--min-time", str(options.min_time), "--json", file.name],
                           check=True, capture_output=True)
            with open(file.name, encoding="utf-8") as text:
                result, = json.load(text)["batches"]
        results.append({"pages": f"{layout[3]} {layout[1].upper()}", **result})
    return results


def compare(options: argparse.Namespace) -> list[dict]:
    rows = []
    for case in (CASES[name] for name in options.cases):
        for dtype in options.dtypes:
            ours = pagoda(options, case, dtype)
            unit = "GB/s" if case.is_decode else "GFLOP/s"
            amount = (ours[0]["bytes"] if case.is_decode else ours[0]["flops"]) / 1e9
            title = f"{case.name}, {dtype}"
            for result in ours:
                print(f"{title:24} {'Pagoda, pages of ' + result['pages']:26} "
                      f"{amount / result['seconds']:9.2f} {unit:8} {100 * result['roof_share']:5.0f} % of "
                      f"{result['roof']}", flush=True)
            problem = Problem(case, DTYPES[dtype])
            for peer in PEERS:
                seconds, failure = peer_seconds(peer, problem, options.min_time)
                row = {"case": case.name, "dtype": dtype, "peer": peer, "seconds": seconds,
                       "failure": failure, "pagoda": ours}
                rows.append(row)
                if seconds is None:
                    print(f"{title:24} {peer:26} {failure}", flush=True)
                    continue
                ratios = " ".join(f"{seconds / result['seconds']:6.1f} x" for result in ours)
                print(f"{title:24} {peer:26} {amount / seconds:9.2f} {unit:8} Pagoda: {ratios}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--command", required=True, help="the pagoda command")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--min-time", type=float, default=1.0, help="seconds of each measurement")
    parser.add_argument("--json", metavar="FILE", help="write the results to FILE too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {options.threads} threads, {HEADS}/{KV_HEADS} heads, head_dim "
          f"{HEAD_DIM}; Pagoda: how many times as fast")
    with torch.inference_mode():
        rows = compare(options)
    print("\nNot run here: published of another day, contiguous K and V, 2 threads of a machine of this kind")
    for case, peer, dtype, rate in OTHER_DAYS:
        print(f"{case + ', ' + dtype:24} {peer:26} {rate}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"torch": torch.__version__, "threads": options.threads, "results": rows,
                       "other_days": OTHER_DAYS}, file, indent=2)


if __name__ == "__main__":
    main()
