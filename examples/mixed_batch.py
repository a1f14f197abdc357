"""A serving step that mixes a prefill, a chunk of a longer prompt and two decodes, in one call.

    python examples/mixed_batch.py            # needs NumPy; no GPU, no torch
"""

import numpy as np
import pagoda

PAGE_SIZE, NUM_PAGES, NUM_Q_HEADS, NUM_KV_HEADS, HEAD_DIM = 16, 40, 8, 2, 64

# What a scheduler decided: (new tokens, tokens already in the cache) of each sequence.
SEQUENCES = [(33, 0), (16, 64), (1, 100), (1, 7)]

rng = np.random.default_rng(0)
k_pages, v_pages = np.zeros((2, NUM_PAGES, PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM), np.float32)

# Pages of a sequence may lie anywhere.
lengths = np.array([new + old for new, old in SEQUENCES], np.int32)
free = rng.permutation(NUM_PAGES).astype(np.int32)
block_table = np.full((len(SEQUENCES), 7), -1, np.int32)
for row, length in enumerate(lengths):
    count = -(-length // PAGE_SIZE)
    block_table[row, :count], free = free[:count], free[count:]


def slots_of(row, first, last):
    tokens = np.arange(first, last)
    return block_table[row, tokens // PAGE_SIZE].astype(np.int64) * PAGE_SIZE + tokens % PAGE_SIZE


def random_rows(num_tokens, num_heads):
    return rng.standard_normal((num_tokens, num_heads, HEAD_DIM)).astype(np.float32)


# Earlier steps wrote the old tokens; this one writes its own, all sequences at once.
for row, (_, old) in enumerate(SEQUENCES):
    pagoda.write_kv_cache(random_rows(old, NUM_KV_HEADS), random_rows(old, NUM_KV_HEADS), k_pages, v_pages,
                          slots_of(row, 0, old))
new_slots = np.concatenate([slots_of(row, old, old + new) for row, (new, old) in enumerate(SEQUENCES)])
pagoda.write_kv_cache(random_rows(len(new_slots), NUM_KV_HEADS), random_rows(len(new_slots), NUM_KV_HEADS),
                      k_pages, v_pages, new_slots)

batch = {
    "q": random_rows(len(new_slots), NUM_Q_HEADS),
    "k_pages": k_pages,
    "v_pages": v_pages,
    "block_table": block_table,
    "cu_seqlens_q": np.cumsum([0, *(new for new, _ in SEQUENCES)]).astype(np.int32),
    "seqused_k": lengths,
}
out, lse = pagoda.attention(**batch, return_lse=True)
print(pagoda.explain(**batch))


def plain(row):
    """The same of one sequence, without pages."""
    new, old = SEQUENCES[row]
    slots = slots_of(row, 0, new + old)
    keys, values = (x.reshape(-1, NUM_KV_HEADS, HEAD_DIM)[slots].repeat(NUM_Q_HEADS // NUM_KV_HEADS, 1)
                    for x in (k_pages, v_pages))
    first = batch["cu_seqlens_q"][row]
    scores = np.einsum("qhd,khd->hqk", batch["q"][first:first + new], keys) / np.sqrt(HEAD_DIM)
    scores[:, ~np.tri(new, new + old, old, dtype=bool)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), values)


error = np.abs(out - np.concatenate([plain(row) for row in range(len(SEQUENCES))])).max()
print(f"largest difference to plain attention: {error:.1e}")
assert error < 1e-5
