"""A small problem in f32, and its attention in plain Python."""

import math
import random

from safetensors_file import Tensor

NUM_Q_HEADS, NUM_KV_HEADS, HEAD_DIM, PAGE_SIZE, NUM_PAGES = 4, 2, 8, 4, 8
SEQS = [(3, 9), (1, 6)]  # q_len, k_len
PAGES = [[5, 0, 3], [7, 2, -1]]  # by sequence; -1 is never read


def make_tensors(head_major=False):
    """What a problem file holds. Head-major pages hold the same K and V."""
    rng = random.Random(7)

    def normal(count):
        # Short binary fractions, exact in f32.
        return [round(rng.gauss(0, 1) * 256) / 256 for _ in range(count)]

    num_tokens = sum(q_len for q_len, _ in SEQS)
    q = normal(num_tokens * NUM_Q_HEADS * HEAD_DIM)
    pages = [normal(NUM_PAGES * PAGE_SIZE * NUM_KV_HEADS * HEAD_DIM) for _ in range(2)]
    shape = [NUM_PAGES, PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM]
    if head_major:
        pages = [to_head_major(values) for values in pages]
        shape = [NUM_PAGES, NUM_KV_HEADS, PAGE_SIZE, HEAD_DIM]
    return {
        "q": Tensor("F32", [num_tokens, NUM_Q_HEADS, HEAD_DIM], q),
        "k_pages": Tensor("F32", shape, pages[0]),
        "v_pages": Tensor("F32", shape, pages[1]),
        "block_table": Tensor("I32", [len(SEQS), 3], sum(PAGES, [])),
        "cu_seqlens_q": Tensor("I32", [len(SEQS) + 1], [0, 3, 4]),
        "seqused_k": Tensor("I32", [len(SEQS)], [k_len for _, k_len in SEQS]),
    }


def row_begin(page, offset, head):
    return ((page * PAGE_SIZE + offset) * NUM_KV_HEADS + head) * HEAD_DIM


def to_head_major(values):
    result = []
    for page in range(NUM_PAGES):
        for head in range(NUM_KV_HEADS):
            for offset in range(PAGE_SIZE):
                begin = row_begin(page, offset, head)
                result += values[begin:begin + HEAD_DIM]
    return result


def attend(tensors, window_left=None):
    """Causal attention of token-major tensors: flat out, and lse as [heads, tokens]."""
    out = []
    num_tokens = tensors["q"].shape[0]
    lse = [[0.0] * num_tokens for _ in range(NUM_Q_HEADS)]
    token = 0
    for seq, (q_len, k_len) in enumerate(SEQS):
        for i in range(q_len):
            position = k_len - q_len + i
            first = 0 if window_left is None else max(0, position - window_left)
            for head in range(NUM_Q_HEADS):
                begin = (token * NUM_Q_HEADS + head) * HEAD_DIM
                query = tensors["q"].values[begin:begin + HEAD_DIM]
                row, lse[head][token] = attend_row(tensors, seq, head, query,
                                                   range(first, position + 1))
                out += row
            token += 1
    return out, sum(lse, [])


def attend_row(tensors, seq, head, query, keys):
    kv_head = head * NUM_KV_HEADS // NUM_Q_HEADS
    begins = [row_begin(PAGES[seq][t // PAGE_SIZE], t % PAGE_SIZE, kv_head) for t in keys]
    k, v = tensors["k_pages"].values, tensors["v_pages"].values
    scores = [sum(x * k[begin + d] for d, x in enumerate(query)) / math.sqrt(HEAD_DIM)
              for begin in begins]
    largest = max(scores)
    weights = [math.exp(score - largest) for score in scores]
    total = sum(weights)
    row = [sum(w * v[begin + d] for w, begin in zip(weights, begins)) / total
           for d in range(HEAD_DIM)]
    return row, largest + math.log(total)
