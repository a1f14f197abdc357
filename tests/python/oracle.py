"""Attention as docs/semantics.md states it, in double precision, one row at a time. It shares no code
with the library nor with the C++ oracle, and is written to be read."""

from __future__ import annotations

import numpy as np


def as_f64(array):
    with np.errstate(invalid="ignore"):  # a NaN of 8 bits
        return np.asarray(array).astype(np.float32).astype(np.float64)


def pages_of(problem, seq):
    """Page ids of a sequence, in order."""
    if "block_table" in problem:
        return problem["block_table"][seq]
    indptr = problem["page_indptr"]
    return problem["page_indices"][indptr[seq]:indptr[seq + 1]]


def gathered(problem, name, seq, length):
    """[length, num_kv_heads, head_dim]: a sequence's K or V, its scales applied."""
    pages = problem[f"{name}_pages"]
    page_size = pages.shape[1]
    tokens = np.arange(length)
    ids = np.asarray(pages_of(problem, seq))[tokens // page_size]
    values = as_f64(pages[ids, tokens % page_size])
    by_token = problem.get(f"{name}_token_scale")
    if by_token is not None:
        return values * as_f64(by_token[ids, tokens % page_size])[:, :, None]
    return values * scale_of(problem, f"{name}_scale", seq)[None, :, None]


def scale_of(problem, name, seq):
    """[num_kv_heads]"""
    num_seqs, num_heads = len(problem["seqused_k"]), problem["k_pages"].shape[2]
    scale = problem.get(name)
    if scale is None:
        return np.ones(num_heads)
    scale = as_f64(scale)
    matrix = scale if scale.ndim == 2 else scale.reshape(1, -1)
    return np.broadcast_to(matrix, (num_seqs, num_heads))[seq]


def is_visible(problem, seq, i, p, t, q_len, k_len):
    """Section 3, for one query and one key."""
    get = problem.get
    causal = get("causal", True)
    if get("causal_per_seq") is not None:
        causal = bool(get("causal_per_seq")[seq])
    left, right = get("window_left", -1), get("window_right", -1)
    base = not causal or t <= p
    base &= left < 0 or p - t <= left
    base &= right < 0 or t - p <= right
    chunk = get("chunk_size", 0)
    base &= chunk == 0 or p // chunk - t // chunk <= get("chunk_lookback", 0)
    if get("prefix_lens") is not None:
        base &= t < get("prefix_lens")[seq] or p - t <= get("prefix_window_left")
    j = int(t) - (k_len - q_len)  # the key's place in this step
    if get("tree_words") is not None and i < 64 and 0 <= j < 64 and i != j:
        word = int(get("tree_words")[problem["cu_seqlens_q"][seq] + i]) & (2**64 - 1)
        base &= word >> j & 1 == 1
    ranges = get("bidirectional_ranges")
    inside = False
    if ranges is not None:
        for first, last in ranges[seq]:
            pair = first <= p <= last and first <= t <= last
            if get("clamp_ranges_to_window_left", False):
                pair &= p - t <= left
            inside |= bool(pair)
    return bool(base) or inside


def logits_of(problem, seq, i, head, q_row, keys, q_len, k_len):
    """x of section 2, steps 1 to 5."""
    get = problem.get
    scale = get("softmax_scale") or 1 / np.sqrt(len(q_row))
    p = k_len - q_len + i
    x = scale * (keys @ q_row)
    cap = get("logits_soft_cap") or 0.0
    if cap > 0:
        x = cap * np.tanh(x / cap)
    t = np.arange(k_len)
    if get("alibi_slopes") is not None:
        slope = float(get("alibi_slopes")[head])
        if get("alibi_sqrt", False):
            x = x - slope * np.sqrt(np.maximum(p - t, 0))
        else:
            x = x + slope * (t - p)
    if get("bias") is not None:
        bias = get("bias") if get("bias").ndim == 2 else get("bias")[seq]
        columns = t - (k_len - q_len)
        there = (columns >= 0) & (columns < bias.shape[1]) & (i < bias.shape[0])
        x = x + np.where(there, as_f64(bias)[min(i, bias.shape[0] - 1),
                                              np.clip(columns, 0, bias.shape[1] - 1)], 0.0)
    seen = np.array([is_visible(problem, seq, i, p, key, q_len, k_len) for key in t], dtype=bool)
    return np.where(seen, x, -np.inf)


def attention(problem):
    """(out, lse [num_q_heads, num_tokens], weight of |V|) in double precision. Rows of no sequence are
    NaN: nothing is written there."""
    q = as_f64(problem["q"])
    num_tokens, num_q_heads, head_dim = q.shape
    group = num_q_heads // problem["k_pages"].shape[2]
    out = np.full(q.shape, np.nan)
    spread = np.zeros(q.shape)  # sum of P |v|: what a rounding of P is felt by
    lse = np.full((num_q_heads, num_tokens), np.nan)
    starts = problem["cu_seqlens_q"]
    for seq, k_len in enumerate(problem["seqused_k"]):
        k_len = int(k_len)
        first, q_len = int(starts[seq]), int(starts[seq + 1] - starts[seq])
        keys, values = (gathered(problem, name, seq, k_len) for name in "kv")
        for i in range(q_len):
            for head in range(num_q_heads):
                kv_head = head // group
                q_row = q[first + i, head] * scale_of(problem, "q_scale", seq)[kv_head]
                x = logits_of(problem, seq, i, head, q_row, keys[:, kv_head], q_len, k_len)
                sink = problem.get("sinks")
                extra = [] if sink is None else [float(as_f64(sink)[head])]
                top = max([*x, *extra], default=-np.inf)
                weights = np.exp(x - top) if top > -np.inf else np.zeros(k_len)
                total = weights.sum() + sum(np.exp(e - top) for e in extra)
                lse[head, first + i] = top + np.log(total) if total > 0 else -np.inf
                share = weights / total if total > 0 else weights
                seen = share > 0
                out[first + i, head] = share[seen] @ values[seen, kv_head]
                spread[first + i, head] = share[seen] @ np.abs(values[seen, kv_head])
    if problem.get("out_scale") is not None:
        out, spread = (a / float(problem["out_scale"].reshape(())) for a in (out, spread))
    return out, lse, spread


# Unit roundoff of the types.
ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8, "float8_e4m3fn": 2.0**-4}


def check(problem, out, lse=None, lse_layout="heads_tokens"):
    """Asserts that a result is as near to the truth as its types allow: two roundings of P and one of
    the result; f32 arithmetic adds 1e-5 of the scale."""
    want, want_lse, spread = attention(problem)
    got = as_f64(out)
    written = ~np.isnan(want)
    name = str(np.asarray(problem["q"]).dtype)
    of_p = ROUNDOFF["bfloat16" if name.startswith("float8") else name]
    of_out = ROUNDOFF[str(np.asarray(out).dtype)]
    smallest = 2.0**-9 if str(np.asarray(out).dtype) == "float8_e4m3fn" else 2.0**-24
    bound = 2 * of_p * spread + of_out * np.abs(want) + 1e-5 * (1 + spread) + smallest
    if of_out == ROUNDOFF["float8_e4m3fn"]:
        want = np.clip(want, -448, 448)
    error = np.abs(got - want)
    worst = np.unravel_index(np.nanargmax(np.where(written, error - bound, -np.inf)), want.shape) \
        if written.any() else None
    assert worst is None or error[worst] <= bound[worst], (
        f"out{list(map(int, worst))}: got {got[worst]}, wants {want[worst]} +- {bound[worst]}")
    if lse is not None:
        got_lse = np.asarray(lse).astype(np.float64)
        got_lse = got_lse.T if lse_layout == "tokens_heads" else got_lse
        rows = written[:, :, 0].T
        np.testing.assert_allclose(got_lse[rows], want_lse[rows], rtol=2e-5, atol=2e-4)
