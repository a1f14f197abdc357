"""python -m pagoda doctor: what is installed, what the machine has, and a self-test.

For bug reports, so it must work where nothing else does: it needs the standard library only, imports no
framework unless --gpu asks for it, and a probe that fails is a line of the report.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import math
import os
import platform
import random
import re
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("pagoda-attention", "torch", "numpy", "ml_dtypes", "transformers", "vllm", "triton",
            "flashinfer-python", "flash-attn")
Rows = Iterator[tuple[str, str]]


def machine() -> Rows:
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "system", f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}"
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    yield "processor", cpu.group(1) if cpu else platform.machine()
    yield "cores", f"{os.cpu_count()}, {len(os.sched_getaffinity(0))} of them for this process"
    for name in sorted(n for n in os.environ if n.startswith("PAGODA_")):
        yield name, os.environ[name]


def packages() -> Rows:
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)


def extension() -> Rows:
    import pagoda._pagoda as module
    yield "pagoda", f"{module.__version__} from {Path(module.__file__).parent}"
    yield "CUDA backend", "compiled in" if module.HAS_CUDA else "not compiled in"
    yield "CPU kernels", re.split(r"[ =]", SelfTest().explain().kernel)[0]


def driver() -> Rows:
    """By the driver itself; no runtime is needed for that."""
    cuda = ctypes.CDLL("libcuda.so.1")
    if (code := cuda.cuInit(0)) != 0:
        raise OSError(f"cuInit returned {code}")
    version, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    cuda.cuDeviceGetCount(ctypes.byref(count))
    yield "driver", f"for CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    for index in range(count.value):
        name, major, minor = ctypes.create_string_buffer(100), ctypes.c_int(), ctypes.c_int()
        cuda.cuDeviceGetName(name, 100, index)
        cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, index)  # COMPUTE_CAPABILITY_MAJOR
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, index)
        hopper = "" if major.value == 9 else ", for which Pagoda has no kernels yet"
        yield f"GPU {index}", f"{name.value.decode()}, capability {major.value}.{minor.value}{hopper}"


def loaded() -> Rows:
    """Libraries in this process: two versions of one are a common cause of trouble."""
    names = ("cudart", "libcuda.so", "gomp", "libtorch", "_pagoda")
    paths = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()
             if ".so" in line and any(name in line for name in names)}
    for path in sorted(paths):
        yield "loaded", path


class SelfTest:
    """A small step (a chunk and a decode) in float32, with the truth from plain Python."""

    num_heads, num_kv_heads, head_dim, page_size = 4, 2, 16, 4
    lengths = ((3, 10), (1, 6))  # (q_len, k_len)

    def __init__(self) -> None:
        rng = random.Random(0)
        num_tokens = sum(q for q, _ in self.lengths)
        self.q = self.floats((num_tokens, self.num_heads, self.head_dim), rng)
        shape = (6, self.page_size, self.num_kv_heads, self.head_dim)
        self.k_pages, self.v_pages = self.floats(shape, rng), self.floats(shape, rng)
        self.out = self.floats((num_tokens, self.num_heads, self.head_dim))
        self.batch: dict[str, Any] = {
            "cu_seqlens_q": self.integers([0, 3, 4], (3,)), "seqused_k": self.integers([10, 6], (2,)),
            "block_table": self.integers([4, 1, 3, 0, 5, 2], (2, 3))}

    @staticmethod
    def floats(shape: tuple[int, ...], rng: random.Random | None = None) -> Any:
        values = [rng.gauss(0, 1) if rng else 0.0 for _ in range(math.prod(shape))]
        return memoryview(array("f", values)).cast("B").cast("f", shape)

    @staticmethod
    def integers(values: list[int], shape: tuple[int, ...]) -> Any:
        return memoryview(array("i", values)).cast("B").cast("i", shape)

    def explain(self) -> Any:
        import pagoda
        return pagoda.explain(self.q, self.k_pages, self.v_pages, **self.batch)

    def error(self) -> float:
        """The largest difference of the library's result from the truth."""
        import pagoda
        pagoda.attention(self.q, self.k_pages, self.v_pages, out=self.out, **self.batch)
        return max(abs(self.out[token, head, d] - value)
                   for token, head, row in self.truth() for d, value in enumerate(row))

    def truth(self) -> Iterator[tuple[int, int, list[float]]]:
        token = 0
        for seq, (q_len, k_len) in enumerate(self.lengths):
            for i in range(q_len):
                seen = k_len - q_len + i + 1
                for head in range(self.num_heads):
                    yield token, head, self.row(seq, token, head, seen)
                token += 1

    def row(self, seq: int, token: int, head: int, seen: int) -> list[float]:
        dims = range(self.head_dim)
        at = [(self.batch["block_table"][seq, t // self.page_size], t % self.page_size,
               head * self.num_kv_heads // self.num_heads) for t in range(seen)]
        scores = [sum(self.q[token, head, d] * self.k_pages[(*place, d)] for d in dims)
                  / math.sqrt(self.head_dim) for place in at]
        weights = [math.exp(score - max(scores)) for score in scores]
        return [sum(w * self.v_pages[(*place, d)] for w, place in zip(weights, at, strict=True))
                / sum(weights) for d in dims]


def self_test() -> Rows:
    began = time.perf_counter()
    error = SelfTest().error()
    yield "self-test", verdict(error, 1e-5, time.perf_counter() - began)


def gpu_self_test() -> Rows:
    """The CUDA backend beside the CPU backend, in bfloat16."""
    import torch

    import pagoda
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(shape, generator=generator).to(torch.bfloat16)
               for shape in ((20, 8, 128), (40, 16, 2, 128), (40, 16, 2, 128)))
    step: dict[str, Any] = {
        "cu_seqlens_q": torch.tensor([0, 16, 20], dtype=torch.int32),
        "seqused_k": torch.tensor([300, 170], dtype=torch.int32),
        "block_table": torch.randperm(40, generator=generator).to(torch.int32).view(2, 20)}
    want = pagoda.attention(q, k, v, **step).float()
    got = pagoda.attention(q.cuda(), k.cuda(), v.cuda(), **{n: x.cuda() for n, x in step.items()})
    error = (got.float().cpu() - want).abs().max().item()
    yield "self-test, GPU", verdict(error, 0.02, time.perf_counter() - began)


def verdict(error: float, allowed: float, seconds: float) -> str:
    outcome = "passed" if error <= allowed else "FAILED"
    return f"{outcome}: largest error {error:.1e}, {allowed:.0e} allowed, {seconds:.2f} s"


def report(probes: list[Callable[[], Rows]]) -> bool:
    """Prints what the probes find; false if a self-test failed."""
    good = True
    for probe in probes:
        try:
            for name, value in probe():
                print(f"{name:18}{value}")
                good = good and "FAILED" not in value
        except Exception as error:  # a broken installation is what this is for
            print(f"{probe.__name__:18}{type(error).__name__}: {error}")
            good = good and "self_test" not in probe.__name__
    return good


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m pagoda doctor", description=__doc__.partition("\n")[0])
    parser.add_argument("--gpu", action="store_true", help="test the CUDA backend too; imports torch")
    gpu = parser.parse_args(arguments).gpu
    probes = [machine, packages, extension, driver, self_test, *([gpu_self_test] if gpu else []), loaded]
    return 0 if report(probes) else 1
