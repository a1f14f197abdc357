#!/usr/bin/env python3
"""Tokens a second of transformers' continuous batching: a random Llama of 8B's shapes, attention by
attention in one run.

    python bench/transformers_serving.py                      # on a GPU
    python bench/transformers_serving.py --device cpu --tiny  # a look at whether it works
"""

import argparse
import json
import time

import torch
from pagoda.integrations.transformers import register
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig, LlamaConfig

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--device", default="cuda")
parser.add_argument("--tiny", action="store_true")
parser.add_argument("--requests", type=int, default=32)
parser.add_argument("--prompt", type=int, default=1000)
parser.add_argument("--new", type=int, default=128)
parser.add_argument("--attentions", nargs="+", default=["paged|sdpa", "paged|pagoda"])
parser.add_argument("--json")
arguments = parser.parse_args()

register()
shape = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000}
if arguments.tiny:
    shape = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
             "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 300}
torch.manual_seed(0)
torch.set_default_dtype(torch.bfloat16)
with torch.device(arguments.device):
    model = AutoModelForCausalLM.from_config(LlamaConfig(
        **shape, max_position_embeddings=32768, initializer_range=0.03, eos_token_id=None)).eval()

page_size = 16
num_pages = -(-(arguments.prompt + arguments.new + 1) // page_size) * arguments.requests + 64
generation = GenerationConfig(max_new_tokens=arguments.new, do_sample=False, eos_token_id=-1, pad_token_id=0)
prompts = [torch.randint(3, shape["vocab_size"], (arguments.prompt,), device="cpu").tolist()
           for _ in range(arguments.requests)]


def serve():
    """(seconds, tokens of each request)"""
    config = ContinuousBatchingConfig(num_blocks=num_pages, block_size=page_size, max_batch_tokens=8192)
    began = time.perf_counter()
    # The manager is kept, and with it the CUDA graphs of earlier runs: they are not captured while we measure.
    results = model.generate_batch(inputs=prompts, generation_config=generation, progress_bar=False,
                                   continuous_batching_config=config, persistent_manager=True)
    seconds = time.perf_counter() - began
    failed = [result.error for result in results.values() if result.error]
    assert len(results) == len(prompts) and not failed, failed[:1]
    return seconds, [results[name].generated_tokens for name in sorted(results, key=lambda x: (len(x), x))]


rows = []
for attention in arguments.attentions:
    model.set_attn_implementation(attention)
    serve()  # warm-up
    seconds, tokens = min((serve() for _ in range(2)), key=lambda run: run[0])
    model.destroy_cached_continuous_batching_manager()
    rows.append({"attention": attention, "seconds": seconds,
                 "tokens_per_second": arguments.requests * arguments.new / seconds})
    first = rows[0].setdefault("tokens", tokens)
    same = sum(a == b for x, y in zip(first, tokens) for a, b in zip(x, y))
    print(f"{attention:14}{seconds:8.2f} s {rows[-1]['tokens_per_second']:9.1f} tokens/s, {same} of "
          f"{arguments.requests * arguments.new} tokens as with {arguments.attentions[0]}", flush=True)
rows[0].pop("tokens")
if arguments.json:
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    with open(arguments.json, "w") as file:
        json.dump({"device": device, "torch": torch.__version__, **vars(arguments), "rows": rows}, file)
