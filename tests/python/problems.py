"""Random problems as NumPy arrays (16-bit and 8-bit floats by ml_dtypes), everything that must not be
read poisoned with NaN; and hypothesis strategies over the whole contract."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

BF16 = np.dtype(ml_dtypes.bfloat16)
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
E5M2 = np.dtype(ml_dtypes.float8_e5m2)
WIDE = (np.dtype(np.float32), np.dtype(np.float16), BF16)
QUANTISED = (E4M3, E5M2, np.dtype(np.int8))


def poison(dtype):
    """What stands where nothing may be read: NaN, or the largest value of a type without one."""
    return np.int8(127) if dtype == np.int8 else dtype.type(np.nan)


def random_values(rng, shape, dtype):
    if dtype == np.int8:
        return rng.integers(-127, 128, shape, dtype=np.int8)
    return rng.standard_normal(shape).astype(np.float32).astype(dtype)


def paged(rng, lengths, num_pages, page_size, num_heads, head_dim, dtype, head_major):
    """(pages, block table): random pages in random order, whatever holds no token poisoned."""
    shape = ((num_pages, num_heads, page_size, head_dim) if head_major
             else (num_pages, page_size, num_heads, head_dim))
    pages = np.full(shape, poison(dtype), dtype)
    view = pages.transpose(0, 2, 1, 3) if head_major else pages
    order = rng.permutation(num_pages)
    needed = [-(-length // page_size) for length in lengths]
    # One entry more than is needed, and garbage in it.
    table = np.full((len(lengths), max(needed, default=0) + 1), -1, np.int32)
    next_page = 0
    for seq, (length, count) in enumerate(zip(lengths, needed)):
        table[seq, :count] = order[next_page:next_page + count]
        next_page += count
    return pages, view, table


def fill(rng, view, table, lengths):
    page_size = view.shape[1]
    for seq, length in enumerate(lengths):
        for start in range(0, length, page_size):
            count = min(page_size, length - start)
            block = view[table[seq, start // page_size], :count]
            block[...] = random_values(rng, block.shape, view.dtype)


def make(seed, lengths, *, num_kv_heads=2, group=2, head_dim=16, page_size=8, dtype=BF16, kv_dtype=None,
         head_major=False, padding_rows=0):
    """A problem: `lengths` is a list of (q_len, k_len)."""
    rng = np.random.default_rng(seed)
    k_lens = [k for _, k in lengths]
    kv_dtype = dtype if kv_dtype is None else kv_dtype
    num_pages = sum(-(-k // page_size) for k in k_lens) + 2
    args = (k_lens, num_pages, page_size, num_kv_heads, head_dim, kv_dtype, head_major)
    _, k_pages, table = paged(rng, *args)
    v_pages = paged(rng, *args)[1]
    fill(rng, k_pages, table, k_lens)
    fill(rng, v_pages, table, k_lens)
    starts = np.cumsum([0, *(q for q, _ in lengths)]).astype(np.int32)
    num_tokens = int(starts[-1]) + padding_rows
    q = random_values(rng, (num_tokens, num_kv_heads * group, head_dim), dtype)
    q[starts[-1]:] = poison(dtype)
    return {"q": q, "k_pages": k_pages, "v_pages": v_pages, "block_table": table,
            "cu_seqlens_q": starts, "seqused_k": np.array(k_lens, np.int32)}


def to_torch(problem, device="cpu"):
    """The same, as torch tensors with the same strides."""
    import torch
    views = {BF16: (np.int16, torch.bfloat16), E4M3: (np.uint8, torch.float8_e4m3fn),
             E5M2: (np.uint8, torch.float8_e5m2)}

    def convert(value):
        if not isinstance(value, np.ndarray):
            return value
        plain, kind = views.get(value.dtype, (value.dtype, None))
        tensor = torch.from_numpy(value.view(plain)).to(device)
        return tensor if kind is None else tensor.view(kind)

    return {name: convert(value) for name, value in problem.items()}


def to_numpy(tensor):
    """Of a torch tensor or an array."""
    if isinstance(tensor, np.ndarray):
        return tensor
    import torch
    names = {torch.bfloat16: BF16, torch.float8_e4m3fn: E4M3, torch.float8_e5m2: E5M2}
    tensor = tensor.detach().cpu()
    kind = names.get(tensor.dtype)
    if kind is None:
        return tensor.numpy()
    plain = torch.int16 if kind == BF16 else torch.uint8
    return tensor.view(plain).numpy().view(kind)


def maybe(draw, strategy, chance=4):
    """Now and then a drawn value, mostly None."""
    return draw(strategy) if draw(st.integers(0, chance - 1)) == 0 else None


@st.composite
def masks(draw, lengths, problem, rng):
    """Options of section 3."""
    num_seqs, num_tokens = len(lengths), len(problem["q"])
    options = {"causal": draw(st.booleans())}
    for name in ("window_left", "window_right"):
        value = maybe(draw, st.integers(0, 40))
        if value is not None:
            options[name] = value
    if maybe(draw, st.just(True)):
        options["causal_per_seq"] = rng.integers(0, 2, num_seqs).astype(np.uint8)
    if maybe(draw, st.just(True)):
        options |= {"chunk_size": draw(st.integers(1, 30)), "chunk_lookback": draw(st.integers(0, 2))}
    if maybe(draw, st.just(True)):
        options |= {"prefix_lens": rng.integers(0, 20, num_seqs).astype(np.int32),
                    "prefix_window_left": draw(st.integers(0, 20))}
    if maybe(draw, st.just(True)):
        options["tree_words"] = rng.integers(-2**63, 2**63 - 1, num_tokens, dtype=np.int64)
    if maybe(draw, st.just(True)) and num_seqs > 0:
        first = rng.integers(0, 60, (num_seqs, 2, 1))
        last = first + rng.integers(-2, 20, (num_seqs, 2, 1))
        options["bidirectional_ranges"] = np.concatenate([first, last], 2).astype(np.int32)
        options["clamp_ranges_to_window_left"] = "window_left" in options and draw(st.booleans())
    return options


@st.composite
def scores(draw, problem, rng):
    """Options of section 2."""
    heads, num_seqs = problem["q"].shape[1], len(problem["seqused_k"])
    options = {}
    if maybe(draw, st.just(True)):
        options["softmax_scale"] = draw(st.floats(0.01, 2.0))
    if maybe(draw, st.just(True)):
        options["logits_soft_cap"] = draw(st.floats(0.5, 60.0))
    if maybe(draw, st.just(True)):
        options["alibi_slopes"] = rng.random(heads).astype(np.float32)
        options["alibi_sqrt"] = draw(st.booleans())
    if maybe(draw, st.just(True)):
        options["sinks"] = random_values(rng, heads, draw(st.sampled_from(WIDE)))
    if maybe(draw, st.just(True)):
        shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
        bias = rng.standard_normal(shape if draw(st.booleans()) else (num_seqs, *shape))
        bias[rng.random(bias.shape) < 0.2] = -np.inf
        options["bias"] = bias.astype(np.float32)
    return options


@st.composite
def scales(draw, problem, rng):
    """Options of section 5, for quantised pages."""
    pages = problem["k_pages"]
    num_heads, num_seqs = pages.shape[2], len(problem["seqused_k"])
    if pages.dtype not in QUANTISED:
        return {}
    if pages.dtype == np.int8 or draw(st.booleans()):
        small = 0.02 if pages.dtype == np.int8 else 1.0
        return {f"{name}_token_scale": (small * (0.1 + rng.random(pages.shape[:3]))).astype(np.float32)
                for name in "kv"}
    shape = draw(st.sampled_from([(1,), (num_heads,), (num_seqs, num_heads)]))
    return {f"{name}_scale": (0.1 + rng.random(shape)).astype(np.float32)
            for name in "kv" if draw(st.booleans())}


@st.composite
def any_problem(draw):
    """Over the contract: types, shapes, layouts, lengths, masks, scores, scales."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed + 1)
    dtype = draw(st.sampled_from(WIDE))
    lengths = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 70)), max_size=4))
    problem = make(
        seed, lengths, dtype=dtype,
        kv_dtype=draw(st.sampled_from((dtype, dtype, *QUANTISED))),
        num_kv_heads=draw(st.integers(1, 3)), group=draw(st.sampled_from((1, 2, 3, 5, 8))),
        head_dim=draw(st.sampled_from((8, 16, 24, 64, 72))),
        page_size=draw(st.sampled_from((1, 3, 8, 16, 48))),
        head_major=draw(st.booleans()), padding_rows=draw(st.integers(0, 2)))
    if draw(st.booleans()) and lengths:  # the same table as CSR
        table = problem.pop("block_table")
        page_size = problem["k_pages"].shape[1]
        needed = [-(-k // page_size) for _, k in lengths]
        problem["page_indptr"] = np.cumsum([0, *needed]).astype(np.int32)
        problem["page_indices"] = np.array(
            [page for seq, count in enumerate(needed) for page in table[seq, :count]], np.int32)
    problem |= draw(masks(lengths, problem, rng))
    problem |= draw(scores(problem, rng))
    problem |= draw(scales(problem, rng))
    return problem
