"""Pagoda: paged attention for a whole LLM serving step in one call.

    out = pagoda.attention(q, k_pages, v_pages, cu_seqlens_q=..., seqused_k=..., block_table=...)

Tensors of torch, NumPy and CuPy are borrowed, never copied; CPU tensors run on the CPU backend, CUDA
tensors on the CUDA backend.
"""

import sys

try:
    from ._pagoda import HAS_CUDA, CacheTensor, Plan, __version__
    from .kv_cache import (
        KvCache,
        copy_pages,
        gather_kv_cache,
        make_kv_cache,
        swap_pages,
        write_kv_cache,
    )
    from .ops import (
        Explanation,
        attention,
        explain,
        merge_states,
        plan,
        supported,
        workspace_size,
    )
    from .options import Problem
    from .unified import unified_attention
except ImportError:
    # While "python -m pagoda" looks for its command: "doctor" then says what is wrong.
    if sys.argv[:1] != ["-m"]:
        raise

__all__ = [
    "CacheTensor",
    "Explanation",
    "HAS_CUDA",
    "KvCache",
    "Plan",
    "Problem",
    "__version__",
    "attention",
    "copy_pages",
    "explain",
    "gather_kv_cache",
    "make_kv_cache",
    "merge_states",
    "plan",
    "supported",
    "swap_pages",
    "unified_attention",
    "workspace_size",
    "write_kv_cache",
]
