"""python -m pagoda bench: the speed of batches, beside other implementations that are installed, in one
run. Needs torch; matplotlib too with --plot.

    python -m pagoda bench                                          # a few shapes of serving
    python -m pagoda bench --batch 64q1s4k --batch 2q2k_32q1s1k     # yours
    python -m pagoda bench --device cuda --peers all --json bench.json --plot bench

A batch is written as groups of [count]q<new tokens>[s<keys, the new ones included>], k = 1024: 2q2k_32q1s4k
is two prefills of 2048 tokens and 32 decodes at 4096.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

import pagoda

from .bench_peers import MODULES, PEERS, Call, call_of_pagoda, seed_peer

PRESETS = {
    "cpu": ("1q512", "1q2k", "1q1s2k", "8q1s2k", "16q4s1k", "1q1k_16q1s1k"),
    "cuda": ("1q2k", "1q8k", "4q2k", "1q1s8k", "8q1s8k", "64q1s4k", "32q8s8k", "1q2k_63q1s4k"),
}
_GROUP = re.compile(r"(\d*)q(\d+)(k?)(?:s(\d+)(k?))?")


def parse_batch(text: str) -> list[tuple[int, int]]:
    """(q_len, k_len) of each sequence."""
    lengths: list[tuple[int, int]] = []
    for group in text.split("_"):
        match = _GROUP.fullmatch(group)
        if match is None:
            raise ValueError(f"batch: got '{text}', wants groups such as 8q1s4k, joined by _")
        count, q, q_unit, k, k_unit = match.groups()
        q_len = int(q) * (1024 if q_unit else 1)
        k_len = int(k) * (1024 if k_unit else 1) if k else q_len
        if k_len < q_len:
            raise ValueError(f"batch: got '{group}' with fewer keys than new tokens")
        lengths += [(q_len, k_len)] * int(count or 1)
    return lengths


@dataclass
class Shape:
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    page_size: int
    dtype: torch.dtype
    device: torch.device


class Batch:
    """A step's tensors: random data, shuffled pages."""

    def __init__(self, text: str, shape: Shape) -> None:
        self.text, self.shape, self.lengths = text, shape, parse_batch(text)
        generator = torch.Generator().manual_seed(0)
        pages = [-(-k // shape.page_size) for _, k in self.lengths]
        order = torch.randperm(sum(pages), generator=generator, dtype=torch.int32)
        table = torch.zeros(len(pages), max(pages), dtype=torch.int32)
        for row, ids in enumerate(order.split(pages)):
            table[row, :len(ids)] = ids

        def random(*size: int) -> torch.Tensor:
            return torch.randn(size, generator=generator).to(shape.device, shape.dtype)

        self.q = random(sum(q for q, _ in self.lengths), shape.num_q_heads, shape.head_dim)
        size = (sum(pages), shape.page_size, shape.num_kv_heads, shape.head_dim)
        self.k_pages, self.v_pages = random(*size), random(*size)
        starts = torch.tensor([0, *(q for q, _ in self.lengths)], dtype=torch.int32).cumsum(0)
        self.starts = starts.to(shape.device, torch.int32)
        self.seqused_k = torch.tensor([k for _, k in self.lengths], dtype=torch.int32, device=shape.device)
        self.block_table = table.to(shape.device)
        self.max_q, self.max_k = max(q for q, _ in self.lengths), max(k for _, k in self.lengths)

    @property
    def kv_bytes(self) -> int:
        """K and V that must be read at least once."""
        row = 2 * self.shape.num_kv_heads * self.shape.head_dim * self.q.element_size()
        return row * sum(k for _, k in self.lengths)

    @property
    def flops(self) -> int:
        """Two multiply-adds of head_dim for each visible pair and query head."""
        pairs = sum(q * k - q * (q - 1) // 2 for q, k in self.lengths)
        return 4 * self.shape.head_dim * self.shape.num_q_heads * pairs


def seconds_of(call: Callable[[], Any], device: torch.device, budget: float) -> float:
    """The median of calls within `budget` seconds; on CUDA by events, one after the other."""
    call()
    times: list[float] = []
    end = time.perf_counter() + budget
    while len(times) < 5 or time.perf_counter() < end:
        if device.type == "cuda":
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            call()
            last.record()
            last.synchronize()
            times.append(first.elapsed_time(last) / 1e3)
        else:
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
    return statistics.median(times)


@dataclass
class Row:
    batch: str
    implementation: str
    seconds: float
    gb_per_s: float
    tflop_per_s: float
    intensity: float  # flops a byte, for the roofline
    note: str = ""


def measure(batch: Batch, name: str, make: Callable[[Batch], Call], budget: float,
            want: torch.Tensor | None) -> tuple[Row, torch.Tensor | None]:
    """A row, and the result. One that cannot run or is wrong says so in its row."""
    intensity = batch.flops / batch.kv_bytes
    try:
        call = make(batch)
        with torch.no_grad():
            out = call.result(call.run())
            difference = 0.0 if want is None else (out.float() - want.float()).abs().max().item()
            seconds = seconds_of(call.run, batch.shape.device, budget)
        note = "" if difference < 0.05 else f"differs by {difference:.2g}"
    except Exception as error:  # a peer's own trouble is no reason to stop
        return Row(batch.text, name, 0, 0, 0, intensity, f"{type(error).__name__}: {error}"[:60]), None
    return Row(batch.text, name, seconds, batch.kv_bytes / seconds / 1e9, batch.flops / seconds / 1e12,
               intensity, note), out


def ceilings(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """(GB/s of reading, TFLOP/s of torch's matrix product), measured."""
    size = 2**28 if device.type == "cuda" else 2**25
    data = torch.ones(size, dtype=torch.float32, device=device)
    n = 8192 if device.type == "cuda" else 1024
    a, b = torch.randn(2, n, n, device=device).to(dtype)
    read = seconds_of(lambda: data.sum(), device, 0.3)
    product = seconds_of(lambda: a @ b, device, 0.3)
    return 4 * size / read / 1e9, 2 * n**3 / product / 1e12


def plot(rows: list[Row], roof: tuple[float, float], prefix: str) -> list[str]:
    """PREFIX_speed and PREFIX_roofline, as PNG and SVG."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    batches = list(dict.fromkeys(row.batch for row in rows))
    names = list(dict.fromkeys(row.implementation for row in rows))
    paths = []

    figure, axes = pyplot.subplots(figsize=(1.5 + 1.3 * len(batches), 4), layout="constrained")
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        times = {row.batch: row.seconds for row in rows if row.implementation == name}
        own = {row.batch: row.seconds for row in rows if row.implementation == names[0]}
        heights = [own[b] / times[b] if times.get(b) else 0 for b in batches]
        axes.bar([x + i * width for x in range(len(batches))], heights, width, label=name)
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set_xticks([x + 0.4 - width / 2 for x in range(len(batches))], batches)
    axes.set_ylabel(f"speed, {names[0]} = 1")
    axes.legend()
    paths += _save(figure, f"{prefix}_speed")

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    bandwidth, peak = roof[0] / 1e3, roof[1]  # TB/s, TFLOP/s
    edges = [min(row.intensity for row in rows) / 2, max(peak / bandwidth, *(r.intensity for r in rows)) * 2]
    xs = sorted([*edges, peak / bandwidth])
    axes.plot(xs, [min(peak, bandwidth * x) for x in xs], color="black", label="measured roof")
    for name in names:
        own_rows = [row for row in rows if row.implementation == name and row.seconds > 0]
        axes.scatter([r.intensity for r in own_rows], [r.tflop_per_s for r in own_rows], label=name)
    for row in rows:
        if row.implementation == names[0]:
            axes.annotate(row.batch, (row.intensity, row.tflop_per_s), fontsize=7,
                          textcoords="offset points", xytext=(4, -8))
    axes.set(xscale="log", yscale="log", xlabel="flops a byte of K and V", ylabel="TFLOP/s")
    axes.legend()
    return paths + _save(figure, f"{prefix}_roofline")


def _save(figure: Any, path: str) -> list[str]:
    paths = [f"{path}.{kind}" for kind in ("png", "svg")]
    for name in paths:
        figure.savefig(name, dpi=150)
    return paths


def show_progress(text: str) -> None:
    """In place of the last one, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pagoda bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", action="append", help="may be given often; default: a few presets")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--heads", default="32/8", help="query heads/KV heads")
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--page-size", type=int, default=16)
    parser.add_argument("--peers", nargs="*", default=["sdpa"],
                        help=f"of {', '.join(PEERS)}, or all; default: sdpa")
    parser.add_argument("--seed", metavar="FILE", help="the Triton kernel that was published in one file")
    parser.add_argument("--seconds", type=float, default=0.5, help="a measurement takes")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="PREFIX", help="PREFIX_speed and PREFIX_roofline, PNG and SVG")
    options = parser.parse_args(arguments)
    options.peers = list(PEERS) if options.peers == ["all"] else options.peers
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"--peers: got {', '.join(unknown)}, wants some of {', '.join(PEERS)}")
    return options


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    device = torch.device(options.device)
    q_heads, _, kv_heads = options.heads.partition("/")
    shape = Shape(int(q_heads), int(kv_heads), options.head_dim, options.page_size,
                  getattr(torch, options.dtype), device)
    missing = [name for name in options.peers if importlib.util.find_spec(MODULES.get(name, "torch")) is None]
    if missing:
        print("not installed:", ", ".join(missing))
    options.peers = [name for name in options.peers if name not in missing]
    makers = {"pagoda": call_of_pagoda, **{name: PEERS[name] for name in options.peers}}
    if options.seed:
        makers["seed"] = seed_peer(options.seed)
    bandwidth, peak = ceilings(device, shape.dtype)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}: measured {bandwidth:.1f} GB/s of reading, {peak:.2f} TFLOP/s of {options.dtype} products")
    print(f"{'batch':18}{'':12}{'us':>10}{'GB/s':>8}{'TFLOP/s':>9}{'of roof':>9}")
    rows: list[Row] = []
    batches = options.batch or PRESETS[device.type]
    for text in batches:
        batch, want = Batch(text, shape), None
        for implementation, make in makers.items():
            show_progress(f"{len(rows) + 1} of {len(batches) * len(makers)}: {text} {implementation}")
            row, out = measure(batch, implementation, make, options.seconds, want)
            show_progress("")
            want = out if want is None else want
            roof = max(batch.kv_bytes / bandwidth / 1e9, batch.flops / peak / 1e12)
            share = f"{100 * roof / row.seconds:7.0f} %" if row.seconds else ""
            print(f"{text:18}{implementation:12}{1e6 * row.seconds:10.1f}{row.gb_per_s:8.1f}"
                  f"{row.tflop_per_s:9.2f}{share:>9}  {row.note}", flush=True)
            rows.append(row)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"device": name, "pagoda": pagoda.__version__, "torch": torch.__version__,
                       "gb_per_s": bandwidth, "tflop_per_s": peak, "shape": options.heads,
                       "head_dim": options.head_dim, "page_size": options.page_size,
                       "dtype": options.dtype, "rows": [asdict(row) for row in rows]}, file, indent=1)
    if options.plot:
        print("wrote", " ".join(plot(rows, (bandwidth, peak), options.plot)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
