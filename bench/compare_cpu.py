#!/usr/bin/env python3
"""Pagoda beside PyTorch's scaled_dot_product_attention, on the CPU, in one run.

    python3 bench/compare_cpu.py --command build/dev/tools/pagoda/pagoda [--threads 2]

Wants PyTorch with its CPU kernels; nothing else in the project does. PyTorch gets contiguous K and V
with the heads expanded beforehand, which flatters it, and in decode also gathers them from pages in
the measured time, which is what paging costs it. Pagoda reads shuffled pages of 16 tokens.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time

import torch

HEADS, KV_HEADS, HEAD_DIM, PAGE = 32, 8, 128, 16
DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
L3_BYTES_TO_PASS = 96 << 20  # of other K and V between two uses of a set


def seconds_per_call(call, min_seconds=1.0):
    """Median of calls; call(i) is the i-th."""
    call(0)
    samples = []
    begin = time.perf_counter()
    while len(samples) < 3 or time.perf_counter() - begin < min_seconds:
        start = time.perf_counter()
        call(len(samples) + 1)
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def attend(q, k, v, mask):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def torch_contiguous(q_len, k_len, dtype):
    """Heads of K and V expanded and laid out beforehand."""
    num_sets = 1 + L3_BYTES_TO_PASS // (2 * k_len * HEADS * HEAD_DIM * dtype.itemsize)
    q = torch.randn(1, HEADS, q_len, HEAD_DIM, dtype=dtype)
    kv = [[torch.randn(1, HEADS, k_len, HEAD_DIM, dtype=dtype) for _ in "kv"]
          for _ in range(num_sets)]
    mask = None
    if q_len > 1:
        mask = torch.ones(q_len, k_len, dtype=torch.bool).tril(k_len - q_len)
    return seconds_per_call(lambda i: attend(q, *kv[i % num_sets], mask))


def torch_from_pages(k_len, dtype):
    """Decode that gathers its pages and expands the heads, as a model on a paged cache must."""
    num_sets = 1 + L3_BYTES_TO_PASS // (2 * k_len * KV_HEADS * HEAD_DIM * dtype.itemsize)
    num_pages = k_len // PAGE
    q = torch.randn(1, HEADS, 1, HEAD_DIM, dtype=dtype)
    pages = [torch.randn(num_sets * num_pages, PAGE, KV_HEADS, HEAD_DIM, dtype=dtype) for _ in "kv"]
    order = torch.randperm(num_sets * num_pages).view(num_sets, num_pages)

    def call(i):
        k, v = (p[order[i % num_sets]].view(k_len, KV_HEADS, HEAD_DIM).transpose(0, 1)
                .repeat_interleave(HEADS // KV_HEADS, dim=0).unsqueeze(0) for p in pages)
        return attend(q, k, v, None)

    return seconds_per_call(call)


def pagoda(command, batch, dtype, threads):
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        subprocess.run([command, "bench", batch, "--dtype", dtype, "--kv-dtype", dtype,
                        "--threads", str(threads), "--ceilings", "40/0.25", "--json", file.name],
                       check=True, capture_output=True)
        return json.load(open(file.name, encoding="utf-8"))["batches"][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--command", required=True, help="the pagoda command")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, {HEADS}/{KV_HEADS} heads, "
          f"head_dim {HEAD_DIM}, page {PAGE} NHD")
    print(f"{'case':24} {'peer':18} {'peer':>10} {'Pagoda':>10} {'ratio':>7}")
    with torch.inference_mode():
        for dtype, torch_dtype in DTYPES.items():
            rows = [("prefill 512 x 4096", "q512s4k", "contiguous",
                     lambda t=torch_dtype: torch_contiguous(512, 4096, t)),
                    ("decode 1 x 4096", "q1s4k", "contiguous",
                     lambda t=torch_dtype: torch_contiguous(1, 4096, t)),
                    ("decode 1 x 4096", "q1s4k", "gathers pages",
                     lambda t=torch_dtype: torch_from_pages(4096, t))]
            for case, batch, peer, measure in rows:
                theirs = measure()
                ours = pagoda(options.command, batch, dtype, options.threads)
                amount, unit = ((ours["flops"] / 1e9, "GFLOP/s") if batch.startswith("q512")
                                else (ours["bytes"] / 1e9, "GB/s"))
                print(f"{case + ', ' + dtype:24} {peer:18} {amount / theirs:10.1f} "
                      f"{amount / ours['seconds']:10.1f} {theirs / ours['seconds']:6.1f}x {unit}")


if __name__ == "__main__":
    main()
