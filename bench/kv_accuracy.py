#!/usr/bin/env python3
"""What a format of K and V costs in accuracy, and what the kernel adds to it: the error of attention against
float64, largest and mean over all outputs, relative to the largest output.

    python bench/kv_accuracy.py                                     # CPU
    python bench/kv_accuracy.py --device cuda --json accuracy.json
    python bench/kv_accuracy.py --device cuda --seed-kernel FILE    # beside the kernel of that file

kernel: against float64 on what is stored; the rounding of the output is in it, which alone is the column
"rounding of out". end to end: against float64 on the data before they were stored.

q and V are normal; K is normal too, from head to head times 0.5 to 4, so that the first head's weights are
nearly even and a few keys have most of the last one's. q has 8 bits, so that it is the same in bf16 and f16.
"""

import argparse
import json
from dataclasses import dataclass

import pagoda
import torch

NUM_Q_HEADS, NUM_KV_HEADS, HEAD_DIM, PAGE_SIZE = 32, 8, 128, 16
GROUP = NUM_Q_HEADS // NUM_KV_HEADS
STEPS = {"decode 8 x 4k": (8, 1, 4096), "512 of 4k": (1, 512, 4096)}  # sequences, new tokens, keys


@dataclass
class Format:
    dtype: torch.dtype  # of pages
    scales: str = ""  # what has a scale: "head", "token" and head
    q_dtype: torch.dtype = torch.bfloat16  # and the output's


FORMATS = {
    "bf16": Format(torch.bfloat16),
    "f16": Format(torch.float16, q_dtype=torch.float16),
    "e4m3, scale per head": Format(torch.float8_e4m3fn, "head"),
    "e5m2, scale per head": Format(torch.float8_e5m2, "head"),
    "e4m3, per token and head": Format(torch.float8_e4m3fn, "token"),
    "int8, per token and head": Format(torch.int8, "token"),
}


class Step:
    """A step's tensors before K and V are stored, in shuffled pages."""

    def __init__(self, num_seqs, q_len, k_len, device):
        random = torch.Generator().manual_seed(17)
        self.num_seqs, self.q_len, self.k_len = num_seqs, q_len, k_len
        q = torch.randn(num_seqs * q_len, NUM_Q_HEADS, HEAD_DIM, generator=random)
        k, v = torch.randn(2, num_seqs * k_len, NUM_KV_HEADS, HEAD_DIM, generator=random)
        k *= torch.linspace(0.5, 4, NUM_KV_HEADS)[:, None]
        self.q, self.k, self.v = q.bfloat16().half().to(device), k.to(device), v.to(device)
        table = torch.randperm(num_seqs * k_len // PAGE_SIZE, generator=random).view(num_seqs, -1)
        slots = table[:, :, None] * PAGE_SIZE + torch.arange(PAGE_SIZE)
        self.table, self.slots = table.to(device, torch.int32), slots.flatten().to(device)
        self.starts = torch.arange(0, num_seqs * q_len + 1, q_len, dtype=torch.int32, device=device)
        self.lengths = torch.full((num_seqs,), k_len, dtype=torch.int32, device=device)


class Cache:
    """K and V of a step in one format."""

    def __init__(self, step, kind):
        self.step, self.kind = step, kind
        shape = (step.table.numel(), PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM)
        k, v, device = step.k, step.v, step.k.device
        self.k_pages, self.v_pages = (torch.zeros(shape, dtype=kind.dtype, device=device) for _ in "kv")
        self.scales = {}
        if kind.scales == "head":
            largest = torch.finfo(kind.dtype).max
            self.scales = {"k_scale": k.abs().amax((0, 2)) / largest, "v_scale": v.abs().amax((0, 2)) / largest}
        elif kind.scales == "token":
            self.scales = {name: torch.ones(shape[:3], device=device)
                           for name in ("k_token_scale", "v_token_scale")}
        else:
            k, v = k.to(kind.dtype), v.to(kind.dtype)
        pagoda.write_kv_cache(k, v, self.k_pages, self.v_pages, step.slots, **self.scales)

    def values(self, name):
        """[tokens, num_kv_heads, head_dim] in float64: what is stored of "k" or "v"."""
        values = getattr(self, f"{name}_pages").double()
        if self.kind.scales == "head":
            values = values * self.scales[f"{name}_scale"].double()[:, None]
        elif self.kind.scales == "token":
            values = values * self.scales[f"{name}_token_scale"].double()[..., None]
        return values.flatten(0, 1)[self.step.slots]

    def attention(self):
        step, q = self.step, self.step.q.to(self.kind.q_dtype)
        return pagoda.attention(
            q, self.k_pages, self.v_pages, cu_seqlens_q=step.starts, seqused_k=step.lengths,
            block_table=step.table, max_seqlen_q=step.q_len, max_seqlen_k=step.k_len, **self.scales)

    def attention_of_seed(self, function):
        """It knows one scale of K and one of V: a call for each head."""
        step, q = self.step, self.step.q.to(self.kind.q_dtype)
        out, one = torch.empty_like(q), torch.ones(NUM_KV_HEADS, device=q.device)
        k_scale, v_scale = (self.scales.get(name, one) for name in ("k_scale", "v_scale"))
        for head in range(NUM_KV_HEADS):
            rows, this = slice(head * GROUP, (head + 1) * GROUP), slice(head, head + 1)
            function(
                q=q[:, rows], k=self.k_pages[:, :, this], v=self.v_pages[:, :, this], out=out[:, rows],
                cu_seqlens_q=step.starts, max_seqlen_q=step.q_len, seqused_k=step.lengths,
                max_seqlen_k=step.k_len, softmax_scale=HEAD_DIM**-0.5, causal=True, window_size=(-1, -1),
                block_table=step.table, softcap=0.0, q_descale=None, k_descale=k_scale[this],
                v_descale=v_scale[this])
        return out


def attention_in_float64(step, k, v):
    """[num_tokens, num_q_heads, head_dim], of K and V in the order of tokens."""
    def by_head(rows):  # [num_seqs, heads, tokens, head_dim]
        return rows.view(step.num_seqs, -1, *rows.shape[1:]).transpose(1, 2)
    q, k, v = by_head(step.q.double()), by_head(k), by_head(v)
    past = step.k_len - step.q_len
    hidden = torch.ones(step.q_len, step.k_len, dtype=torch.bool, device=q.device).triu(past + 1)
    out = torch.empty_like(q)
    for head in range(NUM_Q_HEADS):
        scores = q[:, head] @ k[:, head // GROUP].transpose(1, 2) * HEAD_DIM**-0.5
        weights = scores.masked_fill_(hidden, -torch.inf).softmax(-1)
        out[:, head] = weights @ v[:, head // GROUP]
    return out.transpose(1, 2).flatten(0, 1)


def error(out, want):
    difference = (out.double() - want).abs()
    return [(x / want.abs().max()).item() for x in (difference.max(), difference.mean())]


def measure(step, kind, truth, seed):
    """{what: [largest, mean]}"""
    cache = Cache(step, kind)
    want = attention_in_float64(step, cache.values("k"), cache.values("v"))
    out = cache.attention()
    row = {"kernel": error(out, want), "rounding of out": error(want.to(out.dtype), want),
           "end to end": error(out, truth)}
    if seed is not None and kind.dtype != torch.int8 and kind.scales != "token":
        out = cache.attention_of_seed(seed)
        row |= {"seed, kernel": error(out, want), "seed, end to end": error(out, truth)}
    return row


def show(name, rows, columns):
    print(f"\n| {name} | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for kind, row in rows.items():
        cells = ("{:.1e}, {:.1e}".format(*row[c]) if c in row else "" for c in columns)
        print(f"| {kind} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed-kernel", metavar="FILE", help="a Triton kernel with unified_attention; CUDA")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    seed = None
    columns = ["kernel", "rounding of out", "end to end"]
    if arguments.seed_kernel:
        from pagoda.bench_peers import load_seed
        seed = load_seed(arguments.seed_kernel)
        columns += ["seed, kernel", "seed, end to end"]
    device = torch.device(arguments.device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{where}, torch {torch.__version__}: largest, mean error relative to the largest output")
    result = {"device": where, "steps": {}}
    for name, lengths in STEPS.items():
        step = Step(*lengths, device)
        truth = attention_in_float64(step, step.k.double(), step.v.double())
        rows = {label: measure(step, kind, truth, seed) for label, kind in FORMATS.items()}
        show(name, rows, columns)
        result["steps"][name] = rows
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
