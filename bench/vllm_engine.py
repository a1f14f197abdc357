#!/usr/bin/env python3
"""vLLM's engine with one attention backend: tokens a second, the steady decode step, and log-probabilities
of a few prompts, to be held against another backend's. Weights are made up, so nothing is downloaded.

    python bench/vllm_engine.py CUSTOM llama --json custom.json           # CUSTOM is Pagoda
    python bench/vllm_engine.py FLASH_ATTN llama --json flash.json
    python bench/vllm_engine.py CUSTOM llama_fp8 --json custom_fp8.json
    python bench/vllm_engine.py --compare flash.json custom.json custom_fp8.json

A process runs one backend and one suite, and writes its file anew after each part. A suite is a model, the
shapes of Llama 3 8B or a smaller one with sliding windows, and a type of cache. --compare shows the speeds
and how far any two runs of one model are apart in log-probabilities, as far as both saw the same tokens:
what two correct ones differ by is the tolerance (bench/log_prob_noise.py measures it on a smaller model).
Written for vLLM 0.24 with torch 2.11; the suites with scales per token and head need 0.33 (Pagoda's backend).

fp8 caches have scales of 1, as vLLM stores where a model brings none. FLASH_ATTN and TRITON_ATTN then round
q to fp8 too; Pagoda's backend leaves q as it is.
"""

import argparse
import itertools
import json
import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 14336, "vocab_size": 32000, "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu", "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
}
MISTRAL = LLAMA_8B | {"architectures": ["MistralForCausalLM"], "model_type": "mistral",
                      "num_hidden_layers": 8, "sliding_window": 1024}


@dataclass
class Suite:
    model: dict  # its config.json
    kv_cache_dtype: str = "auto"  # as vLLM takes it


SUITES = {
    "llama": Suite(LLAMA_8B),
    "llama_fp8": Suite(LLAMA_8B, "fp8"),
    "llama_fp8_token": Suite(LLAMA_8B, "fp8_per_token_head"),
    "llama_int8_token": Suite(LLAMA_8B, "int8_per_token_head"),
    "mistral": Suite(MISTRAL),
    "mistral_fp8": Suite(MISTRAL, "fp8"),
}
CHECK_LENGTHS = (1, 15, 16, 17, 500, 2049, 4000, 9001)
CHECK_TOKENS = 8
WORKLOADS = ((64, 4000, 128), (8, 12000, 64))  # requests, prompt, new tokens


class Engine:
    """An engine in this process, whose steps are timed."""

    def __init__(self, backend, suite, compiled):
        os.environ.update(
            VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1", VLLM_ENABLE_V1_MULTIPROCESSING="0",
            VLLM_HOST_IP="127.0.0.1", GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo",
            VLLM_USE_FLASHINFER_SAMPLER="0")
        from vllm import LLM
        folder = tempfile.mkdtemp()
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(suite.model, file)
        compilation = {"cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64]}
        if not compiled:
            compilation |= {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
        self.llm = LLM(model=folder, load_format="dummy", skip_tokenizer_init=True, dtype="bfloat16",
                       gpu_memory_utilization=0.8, max_model_len=16384, block_size=16, max_num_seqs=64,
                       max_num_batched_tokens=8192, enable_prefix_caching=False,
                       attention_backend=backend, kv_cache_dtype=suite.kv_cache_dtype,
                       compilation_config=compilation, seed=0)
        self.fill_weights()
        self.step_ends = []
        step = self.llm.llm_engine.step

        def timed_step():
            result = step()
            self.step_ends.append(time.perf_counter())
            return result

        self.llm.llm_engine.step = timed_step

    def fill_weights(self):
        """Weights large enough that attention decides, norms of 1, the same for every backend."""
        import torch
        runner = self.llm.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner
        generator = torch.Generator(device="cuda").manual_seed(11)
        for name, parameter in sorted(runner.model.named_parameters()):
            if parameter.dim() == 1:
                parameter.data.fill_(1)
                continue
            scale = 0.03 if "qkv" in name else 0.02
            parameter.data.copy_(scale * torch.randn(parameter.shape, generator=generator, device="cuda"))

    def run(self, lengths, new_tokens, seed, **sampling):
        """(seconds, outputs)"""
        import torch
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt
        rng = random.Random(seed)
        prompts = [TokensPrompt(prompt_token_ids=[rng.randrange(3, 31999) for _ in range(length)])
                   for length in lengths]
        parameters = SamplingParams(temperature=0.0, max_tokens=new_tokens, ignore_eos=True,
                                    detokenize=False, **sampling)
        self.step_ends.clear()
        torch.cuda.synchronize()
        began = time.perf_counter()
        outputs = self.llm.generate(prompts, parameters, use_tqdm=False)
        torch.cuda.synchronize()
        return time.perf_counter() - began, outputs

    def measure(self, count, prompt, new_tokens):
        self.run([prompt] * 4, 4, seed=0)
        prefill, _ = self.run([prompt] * count, 1, seed=7)
        total, _ = self.run([prompt] * count, new_tokens, seed=7)
        # Between the last step with a prefill in it and the first without all requests.
        steady = self.step_ends[-(-count * prompt // 8192) + 4:new_tokens - 2]
        return {"total_s": total, "out_tokens_per_s": count * new_tokens / total,
                "prefill_tokens_per_s": count * prompt / prefill,
                "decode_step_ms": 1e3 * statistics.median(b - a for a, b in zip(steady, steady[1:]))}

    def check(self):
        """Tokens and the five best log-probabilities at each, for prompts of many lengths."""
        _, outputs = self.run(CHECK_LENGTHS, CHECK_TOKENS, seed=5, logprobs=5)
        return [{"tokens": list(output.outputs[0].token_ids),
                 "logprobs": [{str(token): entry.logprob for token, entry in position.items()}
                              for position in output.outputs[0].logprobs]} for output in outputs]


def differences(a, b):
    """Of a prompt's log-probabilities in two runs, position by position, as far as both were computed from
    the same tokens: up to and with the one where the greedy tokens part. What comes after has another past
    and says nothing."""
    found = []
    for i, (token_a, token_b) in enumerate(zip(a["tokens"], b["tokens"])):
        shared = a["logprobs"][i].keys() & b["logprobs"][i].keys()
        found.append([abs(a["logprobs"][i][t] - b["logprobs"][i][t]) for t in shared])
        if token_a != token_b:
            break
    return found


def label(run):
    return f"{run['suite']:17}{run['backend']:12}"


def show_pair(first, second):
    """How far two backends are apart, in all and prompt by prompt."""
    prompts = list(zip(CHECK_LENGTHS, first["check"], second["check"]))
    apart = [differences(a, b) for _, a, b in prompts]
    everything = [x for positions in apart for found in positions for x in found]
    parted = sum(a["tokens"] != b["tokens"] for _, a, b in prompts)
    print(f"{label(first)}{label(second)}{len(everything)} log-probabilities: {summary(everything)}; "
          f"{parted} of {len(prompts)} prompts part")
    for (length, _, _), positions in zip(prompts, apart):
        print(f"  {length:5} tokens: {len(positions)} positions, {summary(sum(positions, []))}")


def summary(differences):
    if not differences:  # each run lists its likeliest tokens; they may have none in common
        return "no token that both list"
    return f"mean difference {statistics.mean(differences):.4f}, largest {max(differences):.4f}"


def compare(paths):
    runs = [json.load(open(path)) for path in paths]
    for workload in WORKLOADS:
        name = name_of(workload)
        for run in runs:
            if name in run:
                row = run[name]
                print(f"{name:18}{label(run)}{row['out_tokens_per_s']:8.0f} tokens/s out"
                      f"{row['prefill_tokens_per_s']:9.0f} in{row['decode_step_ms']:8.2f} ms a decode step")
    for first, second in itertools.combinations(runs, 2):
        if SUITES[first["suite"]].model is SUITES[second["suite"]].model:
            show_pair(first, second)


def name_of(workload):
    return "{} x ({} + {})".format(*workload)


def save(result, path):
    if path:
        with open(path, "w") as file:
            json.dump(result, file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("backend", nargs="?", default="CUSTOM")
    parser.add_argument("suite", nargs="?", choices=SUITES, default="llama")
    parser.add_argument("--compile", action="store_true", help="inductor and piecewise graphs too")
    parser.add_argument("--check-only", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--compare", nargs="+", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.compare:
        return compare(arguments.compare)
    began = time.perf_counter()
    engine = Engine(arguments.backend, SUITES[arguments.suite], arguments.compile)
    engine.run([512] * 8, 8, seed=1)
    result = {"backend": arguments.backend, "suite": arguments.suite,
              "start_s": time.perf_counter() - began, "check": engine.check()}
    save(result, arguments.json)
    for workload in () if arguments.check_only else WORKLOADS:
        result[name_of(workload)] = row = engine.measure(*workload)
        figures = " ".join(f"{key}={value:.2f}" for key, value in row.items())
        print(label(result), name_of(workload), figures, flush=True)
        save(result, arguments.json)
    os._exit(0)  # vLLM's threads would keep the process


if __name__ == "__main__":
    main()
