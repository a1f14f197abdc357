"""Pagoda's calls as torch operators, torch.ops.pagoda.*: what torch.compile, torch.export and tensor
subclasses see. Eager calls do not come here, since torch's dispatcher costs more than the call.

The schemas are made from the extension's own tables of options. Results are written into `out`, which
the schemas say, so compilers know what changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from . import _pagoda

_TYPES = {"bool": "bool", "int": "int", "float": "float", "str": "str", "dtype": "str?"}
_NOT_IN_GRAPHS = "object"  # plans, workspaces, streams: no values of torch's type system


def _default(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _schema(name: str) -> str:
    """The operator's schema: required arguments first, tensors that are written marked as such."""
    required: list[str] = []
    optional: list[str] = []
    for option, kind, default, is_required in _pagoda.OPTIONS[name]:
        if kind == _NOT_IN_GRAPHS:
            continue
        if kind in ("tensor", "output"):
            alias = f"(a{len(required) + len(optional)}!)" if kind == "output" else ""
            needed = is_required or option == "out"
            argument = f"Tensor{alias} {option}" if needed else f"Tensor{alias}? {option}=None"
            (required if needed else optional).append(argument)
        else:
            optional.append(f"{_TYPES[kind]} {option}={_default(default)}")
    return f"{name}({', '.join(required)}, *, {', '.join(optional)}) -> ()"


_MERGE_SCHEMA = ('merge_states(Tensor[] outs, Tensor[] lses, Tensor(a!) out, *, Tensor(b!)? lse=None, '
                 'str lse_layout="heads_tokens") -> ()')


def _merge_in_extension(outs: Sequence[torch.Tensor], lses: Sequence[torch.Tensor],
                        out: torch.Tensor, **options: Any) -> None:
    _pagoda.merge_states(list(zip(outs, lses, strict=True)), out, **options)


def _by_name(name: str) -> Any:
    """The extension's function, called with names only: the order of a schema is its own."""
    function = getattr(_pagoda, name)
    required = [argument.split()[1] for argument in
                _schema(name).partition("(")[2].partition(", *,")[0].split(", ")]

    def call(*values: Any, **options: Any) -> None:
        function(**dict(zip(required, values, strict=False)), **options)

    return call


_library = torch.library.Library("pagoda", "DEF")
_IMPLEMENTATIONS = {
    "merge_states": (_MERGE_SCHEMA, _merge_in_extension),
    **{name: (_schema(name), _by_name(name))
       for name in ("attention", "unified_attention", "write_kv_cache", "gather_kv_cache")},
}
for _name, (_text, _function) in _IMPLEMENTATIONS.items():
    _library.define(_text, tags=(torch.Tag.needs_fixed_stride_order,))
    _library.impl(_name, _function, "CPU")
    _library.impl(_name, _function, "CUDA")
    torch.library.register_fake(f"pagoda::{_name}", lambda *_, **__: None, lib=_library)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that are given, as the schemas want them; None stands for the default."""
    kept = {}
    for name, value in options.items():
        if value is None:
            continue
        if name in ("plan", "workspace", "stream"):
            raise TypeError(f"{name}: got one in a compiled graph or for a tensor subclass, wants none "
                            "there; leave it out")
        kept[name] = str(value) if name.endswith("dtype") else value
    return kept


def attention(q: Any, k_pages: Any, v_pages: Any, problem: dict[str, Any], **options: Any) -> None:
    torch.ops.pagoda.attention(q=q, k_pages=k_pages, v_pages=v_pages, **_given(problem | options))


_UNIFIED_NAMES = [row[0] for row in _pagoda.OPTIONS["unified_attention"]]


def unified_attention(*values: Any) -> None:
    torch.ops.pagoda.unified_attention(**_given(dict(zip(_UNIFIED_NAMES, values, strict=True))))


def write_kv_cache(k: Any, v: Any, k_pages: Any, v_pages: Any, slot_mapping: Any,
                   **options: Any) -> None:
    torch.ops.pagoda.write_kv_cache(k=k, v=v, k_pages=k_pages, v_pages=v_pages,
                                    slot_mapping=slot_mapping, **_given(options))


def gather_kv_cache(k_pages: Any, v_pages: Any, k_out: Any, v_out: Any, **options: Any) -> None:
    torch.ops.pagoda.gather_kv_cache(k_pages=k_pages, v_pages=v_pages, k_out=k_out, v_out=v_out,
                                     **_given(options))


def merge_states(states: Any, out: Any, **options: Any) -> None:
    torch.ops.pagoda.merge_states([state[0] for state in states], [state[1] for state in states], out,
                                  **_given(options))
