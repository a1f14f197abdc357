"""Attention, its plans and its results, on tensors of any framework."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _frameworks, _pagoda

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from ._pagoda import Plan
    from .options import LseLayout, Problem, Tensor


def operations(tensor: Any) -> Any:
    """The extension, or pagoda.torch where a call must be one of torch's operators, for a compiler or a
    tensor subclass to see."""
    torch = sys.modules.get("torch")
    if torch is None:
        return _pagoda
    kind = type(tensor)
    is_plain = kind is torch.Tensor or kind is torch.nn.Parameter or not isinstance(tensor, torch.Tensor)
    if is_plain and not torch.compiler.is_compiling():
        return _pagoda
    from . import torch as torch_ops
    return torch_ops


def _new_out(q: Any, options: Any) -> Any:
    dtype = options.get("out_dtype")
    if dtype is not None:
        dtype = _frameworks.dtype_name(dtype)
    elif q.dtype.itemsize == 1 and options.get("q_dtype") is None:  # fp8
        dtype = "bfloat16"
    return _frameworks.empty(q, tuple(q.shape), dtype)


def _new_lse(q: Any, options: Any) -> Any:
    num_tokens, num_heads = q.shape[:2]
    tokens_first = options.get("lse_layout") == "tokens_heads"
    shape = (num_tokens, num_heads) if tokens_first else (num_heads, num_tokens)
    return _frameworks.empty(q, shape, "float32")


def attention(
    q: Tensor,
    k_pages: Tensor,
    v_pages: Tensor,
    *,
    out: Tensor = None,
    lse: Tensor = None,
    return_lse: bool = False,
    plan: Plan | None = None,
    **problem: Unpack[Problem],
) -> Any:
    """Attention over a paged KV cache for a whole serving step: prefill, chunks, decode and
    verification in one ragged batch.

    Args:
      q: [num_tokens, num_q_heads, head_dim] bfloat16, float16, float32 (CPU) or float8_e4m3: the new
        tokens of all sequences, one after the other. Strides are free but for the last, which is 1.
      k_pages, v_pages: [num_pages, page_size, num_kv_heads, head_dim] of q's type, fp8 or int8. The
        new tokens are in them already. Strides of both are independent and free but for the last.
      out: [num_tokens, num_q_heads, head_dim]; None makes one. bfloat16 or float8_e4m3 where asked.
      lse: float32 [num_q_heads, num_tokens], or by lse_layout: filled if given. Neither out nor lse
        may overlap another argument.
      return_lse: return (out, lse), and make an lse if none is given.
      plan: what plan() returned for the same lengths, heads, mask and split policy; None plans too.
      **problem: see pagoda.Problem; cu_seqlens_q, seqused_k and a block table are required.

    Returns out, or (out, lse) with return_lse.

    On the CPU the call returns when its work is done; on CUDA it is enqueued on the current stream of
    q's framework. Nothing is copied and nothing is waited for. There is no gradient.

    Raises:
      ValueError: a shape, stride, device or value is wrong; the text names the argument and the fix.
      TypeError: an argument is no tensor, or has an element type that Pagoda does not know.
      NotImplementedError: legal, but this build or device has no code for it.
    """
    if out is None:
        out = _new_out(q, problem)
    if return_lse and lse is None:
        lse = _new_lse(q, problem)
    operations(q).attention(q, k_pages, v_pages, problem, out=out, lse=lse, plan=plan)
    return (out, lse) if return_lse else out


def plan(q: Tensor, k_pages: Tensor, v_pages: Tensor, *, out: Tensor = None,
         **problem: Unpack[Problem]) -> Plan:
    """Turns a step's lengths into work, once for all layers that share lengths, heads, mask and policy.

    Takes the arguments of attention(), of which it reads shapes, lengths, mask and policy, never the
    contents of q, K or V. The plan lies in `workspace`, or in memory of its own.

    Raises: as attention() does; ValueError too if the workspace is too small.
    """
    return _pagoda.plan(q, k_pages, v_pages, out=out, **problem)


def workspace_size(
    *,
    max_num_tokens: int,
    max_num_seqs: int,
    max_seqlen_k: int,
    num_q_heads: int,
    num_kv_heads: int,
    head_dim: int,
    device: Any = "cpu",
    split_policy: str = "balanced",
    fixed_split_keys: int = 0,
    kv_dtype: Any = "bfloat16",
) -> int:
    """Bytes of workspace for every step within these bounds; reads nothing else, so one allocation
    serves all of them. The tensor may begin at any address.

    Args:
      max_num_tokens, max_num_seqs, max_seqlen_k: of any step: rows of q, sequences, keys of a sequence.
      num_q_heads, num_kv_heads, head_dim: as the steps will have them.
      device: "cpu", "cuda", "cuda:1" or torch's; split_policy, fixed_split_keys: see pagoda.Problem.
      kv_dtype: of K and V, by name or a framework's. On CUDA one of 8 bits asks for room for 16-bit copies
        of what long prompts read, 512 MiB at most; a plan takes a workspace without that room too.

    Raises: ValueError: a bound is out of range; the text names it.
    """
    return _pagoda.workspace_size(
        max_num_tokens=max_num_tokens, max_num_seqs=max_num_seqs, max_seqlen_k=max_seqlen_k,
        num_q_heads=num_q_heads, num_kv_heads=num_kv_heads, head_dim=head_dim, device=device,
        split_policy=split_policy, fixed_split_keys=fixed_split_keys, kv_dtype=kv_dtype)


def supported(q: Tensor, k_pages: Tensor, v_pages: Tensor, *, out: Tensor = None,
              **problem: Unpack[Problem]) -> list[str]:
    """Why attention() would not take this call on this build and device; empty if it would.

    Takes the arguments of attention(). Raises: TypeError alone, for what is no tensor or no option;
    everything else is a reason in the list.
    """
    return _pagoda.supported(q, k_pages, v_pages, out=out, **problem).splitlines()


@dataclass(frozen=True)
class Explanation:
    """What a planned step will do."""

    backend: str  # "cpu" or "cuda"
    kernel: str  # instruction set and routes taken
    num_workers: int  # CPU: threads of the library's pool; CUDA: CTAs that get some work
    num_items: int  # work items
    num_splits: int  # items that write partial results
    kv_bytes: int  # bytes of K and V that must be read at least once
    flops: int
    roof_seconds: float  # CUDA: least time of attention() on an H200; 0 on the CPU
    predicted_seconds: float  # likewise, by a model of the kernels and this plan
    text: str  # all of it, in lines of "key: value"

    def __str__(self) -> str:
        return self.text


def explain(q: Tensor, k_pages: Tensor, v_pages: Tensor, *, out: Tensor = None,
            plan: Plan | None = None, **problem: Unpack[Problem]) -> Explanation:
    """What attention() will do with this step, by `plan` or by one that is made for the purpose.

    Takes the arguments of attention(). On CUDA it waits for the stream that planned, which must still
    exist. Raises: as attention() does; ValueError while that stream is being captured.
    """
    return Explanation(**_pagoda.explain(q, k_pages, v_pages, out=out, plan=plan, **problem))


def merge_states(
    states: Sequence[tuple[Tensor, Tensor]],
    *,
    out: Tensor = None,
    lse: Tensor = None,
    lse_layout: LseLayout = "heads_tokens",
    stream: Any = None,
) -> tuple[Tensor, Tensor]:
    """Joins results over disjoint sets of keys, each a pair (out, lse), weighted by exp(lse).

    out [num_tokens, num_q_heads, head_dim] float32, float16 or bfloat16; lse float32 by lse_layout. An
    lse of +inf or NaN counts as -inf; where all are -inf, out is 0 and lse -inf. Returns (out, lse),
    made if None. They may be those of one of the states, and must not overlap the others. `stream` as in
    pagoda.Problem.

    Raises: ValueError: no states, or shapes, types or devices that differ; TypeError: what is no pair.
    """
    if not states:
        raise ValueError("pagoda.merge_states: states: got none, wants at least one (out, lse)")
    first_out, first_lse = states[0]
    if out is None:
        out = _frameworks.empty(first_out, tuple(first_out.shape))
    if lse is None:
        lse = _frameworks.empty(first_lse, tuple(first_lse.shape))
    operations(first_out).merge_states(states, out, lse=lse, lse_layout=lse_layout, stream=stream)
    return out, lse
