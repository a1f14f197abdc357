"""Pagoda as an attention of transformers 5.x.

    from pagoda.integrations.transformers import register
    register()
    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="pagoda")
    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="paged|pagoda")

"pagoda" serves plain forward passes and generate(), left padding included; "paged|pagoda" serves
continuous batching, where it reads the paged cache in place. Causal and bidirectional models, grouped
heads, sliding windows, soft caps and sinks come from the model. There is no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

import pagoda

from ._transformers_cache import Options, keys_of, step_of

NAME = "pagoda"


def register() -> None:
    """Makes attn_implementation="pagoda" and "paged|pagoda" known to transformers. Call it before models
    are made; a second call does nothing more."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    for name in (NAME, f"paged|{NAME}"):
        AttentionInterface.register(name, attention)
        # A 2-D mask where there is padding, else none: what a kernel with lengths needs.
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS["flash_attention_2"])


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    s_aux: torch.Tensor | None = None,
    **call: Any,
) -> tuple[torch.Tensor, None]:
    """The function that transformers calls: query [batch, num_q_heads, q_len, head_dim], key and value
    [batch, num_kv_heads, k_len, head_dim]; returns [batch, q_len, num_q_heads, head_dim] and None."""
    if torch.is_grad_enabled() and query.requires_grad:
        raise NotImplementedError("pagoda has no backward pass: run the model under torch.no_grad(), or "
                                  "train it with attn_implementation='sdpa'")
    if dropout:
        raise NotImplementedError(f"pagoda: got dropout={dropout}, wants a model in eval mode")
    options: Options = {"softmax_scale": scaling, "logits_soft_cap": softcap, "sinks": s_aux}
    if call.get("cache") is not None:
        # Some models say it in the call, some on the module, some both.
        window = sliding_window or getattr(module, "sliding_window", None) or 0
        return _continuous(module, query, key, value, window, options, call), None
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    options |= {"causal": bool(causal), "window_left": (sliding_window or 0) - 1}
    if not causal and sliding_window:
        options["window_right"] = sliding_window - 1
    if call.get("cu_seq_lens_q") is not None:
        return _packed(query, key, value, options, call), None
    return _plain(query, key, value, attention_mask, options), None


def _continuous(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                window: int, options: Options, call: Options) -> torch.Tensor:
    """A step of continuous batching: [1, num_tokens, num_q_heads, head_dim]."""
    step = step_of(call["cache"], call["read_index"])
    keys = keys_of(call["cache"], step, module, key, value, call)
    q = query[0].transpose(0, 1)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    arguments = {"q": q, "k_pages": keys.k, "v_pages": keys.v, "cu_seqlens_q": call["cu_seq_lens_q"],
                 "window_left": window - 1, "out": out, **keys.batch, **options}
    plan_key = (keys.plan_key, window, tuple(q.shape), tuple(keys.k.shape[1:]))
    if plan_key not in step.plans:
        step.plans[plan_key] = pagoda.plan(**arguments)
    pagoda.attention(**arguments, plan=step.plans[plan_key])
    return out[None]


def _packed(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: Options,
            call: Options) -> torch.Tensor:
    """Several sequences one after the other in a batch of one, without a cache."""
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    starts = call["cu_seq_lens_k"]
    out = pagoda.attention(
        q, k, v, cu_seqlens_q=call["cu_seq_lens_q"].to(torch.int32),
        kv_starts=starts[:-1].to(torch.int32), seqused_k=(starts[1:] - starts[:-1]).to(torch.int32),
        max_seqlen_k=int(call.get("max_length_k") or key.shape[2]), **options)
    return out[None]


@dataclass
class Spans:
    """Which keys of each sequence a 2-D mask shows: the run of ones in each of its rows."""

    firsts: torch.Tensor  # int64 [batch]
    counts: torch.Tensor
    have_holes: bool
    reach_the_end: bool


# A mask is one object for all layers of a forward pass, and looking into it waits for the device.
_spans = WeakIdKeyDictionary()


def _spans_of(mask: torch.Tensor) -> Spans:
    if mask not in _spans:
        ones = mask.bool()
        counts, firsts = ones.sum(1), ones.int().argmax(1)
        ends = mask.shape[1] - ones.flip(1).int().argmax(1)
        _spans[mask] = Spans(firsts, counts,
                             have_holes=bool(((ends - firsts != counts) & (counts > 0)).any()),
                             reach_the_end=bool((ends == mask.shape[1]).all()))
    return _spans[mask]


def _first_and_length(mask: torch.Tensor, causal: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the keys of each sequence; int32 [batch]."""
    if mask.dim() != 2:
        raise NotImplementedError(f"pagoda: got an attention_mask of shape {list(mask.shape)}, wants "
                                  "[batch, k_len] with one run of ones a row, or none")
    spans = _spans_of(mask)
    if spans.have_holes:
        raise NotImplementedError("pagoda: got an attention_mask with holes, wants one run of ones a row "
                                  "(left or right padding); use attn_implementation='sdpa'")
    # With padding on the right no token that counts sees it, and the last query is at the last key.
    is_whole = causal and not spans.reach_the_end
    lengths = mask.shape[1] - spans.firsts if is_whole else spans.counts
    return spans.firsts.to(torch.int32), lengths.to(torch.int32)


def _plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None,
           options: Options) -> torch.Tensor:
    """A batch of sequences of one length: K and V are read where they lie, from each sequence's first key
    on, so padding costs nothing."""
    batch, num_heads, q_len, head_dim = query.shape
    device = query.device
    num_kv_heads, k_len = key.shape[1:3]
    kv_len = k_len if mask is None else min(k_len, mask.shape[-1])
    if key.stride() != value.stride() or key.stride(0) % max(key.stride(2), 1) != 0:
        key, value = key.contiguous(), value.contiguous()
    # Sequence b begins rows_per_sequence * b rows after the first, whatever lies in between.
    rows_per_sequence = key.stride(0) // key.stride(2) if batch > 1 else 0
    starts = torch.arange(batch, dtype=torch.int32, device=device) * rows_per_sequence
    if mask is None:
        lengths = torch.full((batch,), kv_len, dtype=torch.int32, device=device)
    else:
        firsts, lengths = _first_and_length(mask, options["causal"])
        starts = starts + firsts
    out = torch.empty((batch, q_len, num_heads, head_dim), dtype=query.dtype, device=device)
    pagoda.attention(
        query.transpose(1, 2).reshape(batch * q_len, num_heads, head_dim),
        _rows(key), _rows(value),
        out=out.view(batch * q_len, num_heads, head_dim),
        cu_seqlens_q=torch.arange(batch + 1, dtype=torch.int32, device=device) * q_len,
        kv_starts=starts, seqused_k=lengths, max_seqlen_q=q_len, max_seqlen_k=kv_len, **options)
    return out


def _rows(x: torch.Tensor) -> torch.Tensor:
    """[batch, num_kv_heads, k_len, head_dim] as overlapping rows [num_rows, num_kv_heads, head_dim]."""
    batch, num_heads, k_len, head_dim = x.shape
    step = x.stride(2)
    num_rows = (batch - 1) * (x.stride(0) // step) + k_len if batch > 1 else k_len
    return x.as_strided((num_rows, num_heads, head_dim), (step, x.stride(1), x.stride(3)))
