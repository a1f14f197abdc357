"""Steps and caches as vLLM hands them to Pagoda's backend, with stand-ins for vLLM's abstract classes where
it is not installed."""

import importlib
import pathlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import problems
from problems import BF16

try:
    import vllm.v1.attention.backend  # noqa: F401
except ImportError:
    sys.path.insert(0, str(pathlib.Path(__file__).parent / "vllm_stub"))
    for name in [n for n in sys.modules if n.partition(".")[0] == "vllm"]:
        del sys.modules[name]

from pagoda.integrations import vllm as integration  # noqa: E402

HEAD_SIZE, NUM_HEADS, NUM_KV_HEADS, BLOCK = 64, 4, 2, 16


@pytest.fixture(scope="module")
def backend():
    integration.register()
    integration.register()
    module, _, name = integration.BACKEND.rpartition(".")
    return getattr(importlib.import_module(module), name)


def config(graphs="FULL_AND_PIECEWISE"):
    from vllm.config import CUDAGraphMode
    return SimpleNamespace(
        scheduler_config=SimpleNamespace(max_num_batched_tokens=64, max_num_seqs=8),
        model_config=SimpleNamespace(max_model_len=128),
        compilation_config=SimpleNamespace(cudagraph_mode=CUDAGraphMode[graphs]))


def caches(layout, num_blocks, dtype=torch.bfloat16, content=2 * HEAD_SIZE):
    """(cache as vLLM passes it, K pages, V pages), all of it NaN; bytes are fp8 of either kind. What a
    token and head take of 0.33's pages may be more than K and V."""
    nan = 0x7F if dtype.itemsize == 1 else float("nan")
    if layout == "0.24":
        cache = torch.full((num_blocks, 2, BLOCK, NUM_KV_HEADS, HEAD_SIZE), nan, dtype=dtype)
        return cache, cache[:, 0], cache[:, 1]
    if layout == "0.24 head-major":
        cache = torch.full((num_blocks, 2, NUM_KV_HEADS, BLOCK, HEAD_SIZE), nan, dtype=dtype).transpose(2, 3)
        return cache, cache[:, 0], cache[:, 1]
    shape = (num_blocks, BLOCK, NUM_KV_HEADS, content)  # token-major in memory
    cache = torch.full(shape, nan, dtype=dtype).transpose(1, 2)
    view = cache.transpose(1, 2)
    if layout == "0.33 head-major":
        cache = cache.contiguous()
        view = cache.transpose(1, 2)
    return cache, view[..., :HEAD_SIZE], view[..., HEAD_SIZE:2 * HEAD_SIZE]


def step(lengths, padding=0):
    """(problem, fused qkv rows [num_tokens + padding], slot mapping)"""
    problem = problems.make(5, lengths, head_dim=HEAD_SIZE, page_size=BLOCK, group=2)
    num_tokens = len(problem["q"])
    rng = np.random.default_rng(6)
    qkv = problems.random_values(rng, (num_tokens + padding, NUM_HEADS + 2 * NUM_KV_HEADS, HEAD_SIZE), BF16)
    slots = slots_of(problem, [(k_len - q_len, k_len) for q_len, k_len in lengths])
    return problem, qkv, np.array([*slots, *[-1] * padding], np.int64)


def slots_of(problem, ranges):
    """Of each sequence's tokens from `first` to `last`."""
    slots = []
    for seq, (first, last) in enumerate(ranges):
        tokens = np.arange(first, last)
        slots.extend(problem["block_table"][seq, tokens // BLOCK].astype(np.int64) * BLOCK + tokens % BLOCK)
    return slots


def common_of(tensors, slots, causal=True):
    return SimpleNamespace(
        query_start_loc=tensors["cu_seqlens_q"], seq_lens=tensors["seqused_k"],
        block_table_tensor=tensors["block_table"], slot_mapping=slots, causal=causal,
        num_reqs=len(tensors["seqused_k"]), num_actual_tokens=int(tensors["cu_seqlens_q"][-1]),
        max_query_len=int(tensors["cu_seqlens_q"].diff().max()), max_seq_len=99)
