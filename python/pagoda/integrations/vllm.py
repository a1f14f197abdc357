"""Pagoda as an attention backend of vLLM, by its entry point vllm.general_plugins.

    vllm serve MODEL --attention-backend CUSTOM
    LLM(model, attention_backend="CUSTOM")

Installing pagoda-attention beside vLLM is enough; every process of vLLM calls register().
"""

from __future__ import annotations

BACKEND = "pagoda.integrations._vllm_backend.PagodaBackend"


def register() -> None:
    """Makes Pagoda vLLM's backend CUSTOM. Touches no device and may be called more than once."""
    from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend
    register_backend(AttentionBackendEnum.CUSTOM, BACKEND)
