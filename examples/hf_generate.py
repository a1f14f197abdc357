"""transformers with Pagoda: plain generate() and continuous batching, held to eager attention.

    python examples/hf_generate.py                   # a small random model; nothing is downloaded
    python examples/hf_generate.py --model FOLDER    # a model of yours
"""

import argparse

import torch
from pagoda.integrations.transformers import register
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig, LlamaConfig

register()  # before models are made

parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--device", default="cpu")
arguments = parser.parse_args()

torch.manual_seed(0)
if arguments.model:
    model = AutoModelForCausalLM.from_pretrained(arguments.model)
else:
    model = AutoModelForCausalLM.from_config(LlamaConfig(
        vocab_size=300, hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=8,
        num_key_value_heads=2, initializer_range=0.2, bos_token_id=1, eos_token_id=None))
# The CUDA backend takes 16-bit types.
model = model.to(arguments.device, torch.float32 if arguments.device == "cpu" else torch.bfloat16).eval()

prompts = [torch.randint(3, 300, (length,)).tolist() for length in (7, 90, 33, 12)]
greedy = GenerationConfig(max_new_tokens=16, do_sample=False, eos_token_id=-1, pad_token_id=0)


def one_by_one(implementation):
    model.set_attn_implementation(implementation)
    texts = []
    for prompt in prompts:
        ids = torch.tensor([prompt], device=model.device)
        texts.append(model.generate(ids, generation_config=greedy)[0, len(prompt):].tolist())
    return texts


def continuous(implementation):
    model.set_attn_implementation(implementation)
    results = model.generate_batch(
        inputs=prompts, generation_config=greedy, progress_bar=False,
        continuous_batching_config=ContinuousBatchingConfig(num_blocks=64, block_size=16,
                                                            max_batch_tokens=64))
    return [result.generated_tokens
            for result in sorted(results.values(), key=lambda result: result.request_id)]


want = one_by_one("eager")
for name, got in (("pagoda", one_by_one("pagoda")), ("paged|pagoda", continuous("paged|pagoda"))):
    same = sum(a == b for x, y in zip(want, got) for a, b in zip(x, y))
    print(f"{name:13}{same} of {sum(map(len, want))} tokens as with eager attention")
    assert arguments.device != "cpu" or got == want
