#!/usr/bin/env python3
"""How far log-probabilities of correct bf16 attentions are apart in a random model: what a comparison of two
of vLLM's backends on made-up weights (bench/vllm_engine.py) can ask for.

    python bench/log_prob_noise.py

The model is a Llama of 32 layers, narrower than the one there, with weights that give activations, scores
and logits the same size. A rounding in an early layer grows through the later ones, since random weights
damp nothing. Each attention is held against torch's eager one in float32, from the same bf16 weights, and
against the others: the root mean square of differences over the vocabulary, and the largest of the five
likeliest tokens. Needs transformers; runs on the CPU in about a minute.
"""

import argparse
import itertools

import torch
import transformers
from pagoda.integrations.transformers import register

HIDDEN, HIDDEN_OF_8B = 512, 4096
CONFIG = {
    "hidden_size": HIDDEN, "num_hidden_layers": 32, "num_attention_heads": 4, "num_key_value_heads": 1,
    "head_dim": 128, "intermediate_size": 1792, "vocab_size": 32000, "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": False,
}
IMPLEMENTATIONS = ("eager", "sdpa", "pagoda")


def random_model():
    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**CONFIG)).eval()
    generator = torch.Generator().manual_seed(11)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.data.fill_(1)
            continue
        scale = 0.03 if any(part in name for part in ("q_proj", "k_proj", "v_proj")) else 0.02
        if "embed" not in name:  # a row's products are sums of fewer
            scale *= (HIDDEN_OF_8B / HIDDEN) ** 0.5
        parameter.data.normal_(std=scale, generator=generator)
    return model.to(torch.bfloat16)


def log_probs(model, implementation, ids):
    """Of the token after `ids`."""
    model.set_attn_implementation(implementation)
    with torch.no_grad():
        return model(ids, logits_to_keep=1).logits[0, -1].float().log_softmax(-1)


def show(length, name, difference, likeliest):
    print(f"{length:6}  {name:20}{difference.square().mean().sqrt():8.3f}{difference[likeliest].max():8.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[1, 16, 100, 500, 2049])
    lengths = parser.parse_args().lengths
    register()
    model = random_model()
    prompts = torch.Generator().manual_seed(5)
    print(f"tokens  {'':20}{'rms':>8}{'top 5':>8}")
    for length in lengths:
        ids = torch.randint(3, 31999, (1, length), generator=prompts)
        got = {name: log_probs(model, name, ids) for name in IMPLEMENTATIONS}
        truth = log_probs(model.float(), "eager", ids)  # the weights stay those of bf16
        model.bfloat16()
        likeliest = truth.topk(5).indices
        for name in IMPLEMENTATIONS:
            show(length, f"{name} - float32", (got[name] - truth).abs(), likeliest)
        for a, b in itertools.combinations(IMPLEMENTATIONS, 2):
            show(length, f"{a} - {b}", (got[a] - got[b]).abs(), likeliest)


if __name__ == "__main__":
    main()
