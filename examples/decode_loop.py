"""The shape of an engine's decode loop: one workspace for all steps, one plan a step for all layers,
nothing allocated in between.

    python examples/decode_loop.py [--device cuda]            # needs torch
"""

import argparse
import time

import pagoda
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--device", default="cpu")
parser.add_argument("--steps", type=int, default=20)
arguments = parser.parse_args()
device = torch.device(arguments.device)

NUM_LAYERS, NUM_SEQS, NUM_Q_HEADS, NUM_KV_HEADS, HEAD_DIM, PAGE_SIZE = 4, 8, 8, 2, 64, 64
PROMPT = 200
MAX_LENGTH = PROMPT + arguments.steps
MAX_PAGES = -(-MAX_LENGTH // PAGE_SIZE)
DTYPE = torch.bfloat16

torch.manual_seed(0)
NUM_PAGES = NUM_SEQS * MAX_PAGES


def new_pages():
    """One layer's K and V."""
    if device.type == "cuda":
        return torch.empty(2, NUM_PAGES, PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM, dtype=DTYPE, device=device)
    # In the layout that CPUs read fastest; the tensors share the cache's memory and keep it.
    cache = pagoda.make_kv_cache(num_pages=NUM_PAGES, page_size=PAGE_SIZE, num_kv_heads=NUM_KV_HEADS,
                                 head_dim=HEAD_DIM, dtype=DTYPE)
    return torch.from_dlpack(cache.k_pages), torch.from_dlpack(cache.v_pages)


k_pages, v_pages = zip(*(new_pages() for _ in range(NUM_LAYERS)), strict=True)
for prompt in (*k_pages, *v_pages):
    prompt.normal_()
block_table = torch.randperm(NUM_PAGES, dtype=torch.int32).view(NUM_SEQS, -1).to(device)
lengths = torch.full((NUM_SEQS,), PROMPT, dtype=torch.int32, device=device)
starts = torch.arange(NUM_SEQS + 1, dtype=torch.int32, device=device)
q = torch.empty(NUM_SEQS, NUM_Q_HEADS, HEAD_DIM, dtype=DTYPE, device=device)
out = torch.empty_like(q)

workspace = torch.empty(
    pagoda.workspace_size(device=device, max_num_tokens=NUM_SEQS, max_num_seqs=NUM_SEQS,
                          max_seqlen_k=MAX_LENGTH, num_q_heads=NUM_Q_HEADS, num_kv_heads=NUM_KV_HEADS,
                          head_dim=HEAD_DIM),
    dtype=torch.uint8, device=device)
step = {"cu_seqlens_q": starts, "seqused_k": lengths, "block_table": block_table, "max_seqlen_q": 1,
        "max_seqlen_k": MAX_LENGTH}

began = time.perf_counter()
for _ in range(arguments.steps):
    positions = lengths.long()
    slots = block_table.gather(1, (positions // PAGE_SIZE)[:, None])[:, 0] * PAGE_SIZE + positions % PAGE_SIZE
    lengths += 1  # the new token counts
    plan = pagoda.plan(q, k_pages[0], v_pages[0], **step, workspace=workspace)
    for layer in range(NUM_LAYERS):
        # A model would make these from its hidden states.
        q.normal_()
        new_k, new_v = torch.randn(2, NUM_SEQS, NUM_KV_HEADS, HEAD_DIM, device=device).to(DTYPE)
        pagoda.write_kv_cache(new_k, new_v, k_pages[layer], v_pages[layer], slots)
        pagoda.attention(q, k_pages[layer], v_pages[layer], **step, plan=plan, out=out)
if device.type == "cuda":
    torch.cuda.synchronize()
seconds = time.perf_counter() - began

print(pagoda.explain(q, k_pages[0], v_pages[0], **step, plan=plan))
print(f"{arguments.steps} steps of {NUM_SEQS} sequences and {NUM_LAYERS} layers: "
      f"{1e6 * seconds / arguments.steps / NUM_LAYERS:.0f} us a layer")
assert out.isfinite().all()
