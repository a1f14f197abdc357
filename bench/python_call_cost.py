#!/usr/bin/env python3
"""What a Python call costs: attention() with ten torch tensors, all of which are read and checked, and beside
it what torch's own calls and the published kernel's launcher cost.

    python bench/python_call_cost.py [--device cuda] [--seed-file triton_unified_attention.py]

On the CPU the batch is empty: what is measured comes before any computing. On CUDA it is three tokens of
one sequence and the time is what the host needs to enqueue their kernels. The seed's launcher needs triton;
it is timed with its kernels replaced by nothing and, on CUDA, with them.
"""

import argparse
import importlib.util
import time
from functools import partial

import pagoda
import pagoda.torch
import torch
from pagoda import _pagoda

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--device", default="cpu")
parser.add_argument("--seed-file", help="the published kernel's file, for its launcher")
parser.add_argument("--calls", type=int, default=50000)
arguments = parser.parse_args()


def microseconds(call):
    """The best of many short batches: what the call costs when nothing else runs."""
    batch = 500 if arguments.device == "cpu" else 100  # fewer than a stream's queue holds
    times = []
    call()  # compiles what is compiled at the first call
    for _ in range(arguments.calls // batch):
        began = time.perf_counter()
        for _ in range(batch):
            call()
        times.append((time.perf_counter() - began) / batch)
        if arguments.device != "cpu":
            torch.cuda.synchronize()
    return 1e6 * min(times)


# Each tensor is told its device: a default device would slow down every access to any tensor.
on_device = {"device": arguments.device}
int32 = on_device | {"dtype": torch.int32}
bfloat16 = on_device | {"dtype": torch.bfloat16}
heads, kv_heads, head_dim = 8, 2, 64
q = torch.randn(3, heads, head_dim, **bfloat16)
k_pages, v_pages = torch.randn(2, 6, 16, kv_heads, head_dim, **bfloat16)
out, lse = torch.empty_like(q), torch.empty(heads, 3, **on_device)
num_seqs = 0 if arguments.device == "cpu" else 1
cu_seqlens_q, seqused_k = torch.tensor([0, 3][:num_seqs + 1], **int32), torch.full((num_seqs,), 32, **int32)
block_table = torch.zeros(num_seqs, 2, **int32)
sinks, slopes = torch.zeros(heads, **on_device), torch.zeros(heads, **on_device)
bias = torch.zeros(3, 3, **on_device)
plan = pagoda.plan(q, k_pages, v_pages, cu_seqlens_q=cu_seqlens_q, seqused_k=seqused_k,
                   block_table=block_table)
tensors = {"out": out, "lse": lse, "cu_seqlens_q": cu_seqlens_q, "seqused_k": seqused_k,
           "block_table": block_table, "sinks": sinks, "alibi_slopes": slopes}


def unified(function, **newer):
    """A call of `function` as of vLLM's kernel, with nothing of Python's in between."""
    return partial(function, q, k_pages, v_pages, out, cu_seqlens_q, 3, seqused_k, 32, 0.125, True, (-1, -1),
                   block_table, 0.0, None, None, None, slopes, **newer)


def seed_launcher(path):
    """The published file's, with its kernels."""
    spec = importlib.util.spec_from_file_location("seed", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.unified_attention


def without_kernels(launcher):
    """The launcher, its kernels replaced by stand-ins that do nothing."""
    class Nothing:
        def __getitem__(self, grid):
            return lambda **_: None

    for name in ("kernel_unified_attention_2d", "kernel_unified_attention_3d", "reduce_segments"):
        launcher.__globals__[name] = Nothing()
    return launcher


small = torch.zeros(1, heads, 1, head_dim, **bfloat16)
one = torch.zeros(1, **on_device)
rows = [
    ("pagoda.attention, planned, 10 tensors",
     lambda: pagoda.attention(q, k_pages, v_pages, out=out, lse=lse, cu_seqlens_q=cu_seqlens_q,
                              seqused_k=seqused_k, block_table=block_table, sinks=sinks,
                              alibi_slopes=slopes, plan=plan)),
    ("pagoda.attention, 10 tensors",
     lambda: pagoda.attention(q, k_pages, v_pages, out=out, lse=lse, cu_seqlens_q=cu_seqlens_q,
                              seqused_k=seqused_k, block_table=block_table, sinks=sinks,
                              alibi_slopes=slopes)),
    ("the extension alone, planned, 10 tensors",
     lambda: _pagoda.attention(q, k_pages, v_pages, out=out, lse=lse, cu_seqlens_q=cu_seqlens_q,
                               seqused_k=seqused_k, block_table=block_table, sinks=sinks,
                               alibi_slopes=slopes, plan=plan)),
    ("pagoda.unified_attention, 8 tensors", unified(pagoda.unified_attention)),
    ("pagoda.unified_attention, 10 tensors",
     unified(pagoda.unified_attention, sinks=sinks, qq_bias=bias)),
    ("torch.ops.pagoda.attention, 10 tensors",
     lambda: pagoda.torch.attention(q, k_pages, v_pages, tensors)),
    ("torch scaled_dot_product_attention, one token",
     lambda: torch.nn.functional.scaled_dot_product_attention(small, small, small)),
    ("torch.add(out=), one element", lambda: torch.add(one, one, out=one)),
]
has_triton = importlib.util.find_spec("triton") is not None
if arguments.seed_file and has_triton:
    rows.append(("the seed's launcher, no kernel, 8 tensors",
                 unified(without_kernels(seed_launcher(arguments.seed_file)))))
    if arguments.device != "cpu":
        rows.append(("the seed's launcher, 8 tensors", unified(seed_launcher(arguments.seed_file))))
for name, call in rows:
    print(f"{name:48}{microseconds(call):8.2f} us", flush=True)
if arguments.seed_file and not has_triton:
    print("the seed's launcher: not timed, triton is not installed")
