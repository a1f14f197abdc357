"""The paged cache of transformers 5.x continuous batching: everything that depends on its layout.

As of 5.17: `cache.key_cache[j]` and `value_cache[j]` are [num_slots, num_kv_heads, head_dim], one pair for
the j-th layer of every group of layers; `layer_index_to_group_indices` maps a layer to (group, j). Slots
come in blocks of `block_size`, which are pages. A call gets, by group, `write_index`, the slots of the new
tokens, and `read_index`, the slots of all keys, sequence after sequence; it is empty if no sequence has
keys from an earlier step.

Layers with a sliding window keep their last `sliding_window` tokens in a ring of slots, and their
read_index has `sentinel_index` where the new tokens belong. They must be read before the new tokens
overwrite what a chunk's first queries still see.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

import pagoda
from pagoda import _frameworks

Options = dict[str, Any]


@dataclass
class Step:
    """One forward pass. Its tables and plans serve all layers of a group."""

    read_index: list[torch.Tensor]  # what tells one step from the next
    # What was made before a CUDA graph's capture, in a warm-up with the same arguments, is not in the graph.
    is_captured: bool
    tables: dict[Any, Options] = field(default_factory=dict)
    plans: dict[Any, Any] = field(default_factory=dict)


def step_of(cache: Any, read_index: list[torch.Tensor]) -> Step:
    step = getattr(cache, "_pagoda_step", None)
    capturing = _frameworks.is_capturing(read_index[0])
    if step is None or step.read_index is not read_index or step.is_captured != capturing:
        step = cache._pagoda_step = Step(read_index, capturing)
    return step


@dataclass
class Keys:
    """Where a layer's keys and values lie."""

    k: torch.Tensor
    v: torch.Tensor
    batch: Options  # lengths and tables, as pagoda.attention takes them
    plan_key: Any  # layers with the same one have the same batch


def by_kind(value: Any, is_windowed: bool) -> Any:
    """Lengths of keys come by kind of layer if a model has both."""
    if isinstance(value, dict):
        return value["sliding_attention" if is_windowed else "full_attention"]
    return value


def keys_of(cache: Any, step: Step, module: Any, k: torch.Tensor, v: torch.Tensor, call: Options) -> Keys:
    """Writes the new tokens k, v [1, num_kv_heads, num_tokens, head_dim] into the cache and says where
    this layer's keys are: in the pages wherever they can be read there."""
    group, place = cache.layer_index_to_group_indices[module.layer_idx]
    is_windowed = cache.sliding_windows[module.layer_idx] != 1
    reads, writes = call["read_index"][group], call["write_index"][group]
    new_k, new_v = k[0].transpose(0, 1), v[0].transpose(0, 1)
    slots_k, slots_v = cache.key_cache[place], cache.value_cache[place]

    if reads.numel() == 0:  # no sequence has keys from before
        _write(new_k, new_v, slots_k, slots_v, cache.block_size, writes)
        batch = _once(step, "new", lambda: _rows(call["cu_seq_lens_q"], _max_q(call)))
        return Keys(new_k, new_v, batch, "new")

    starts = by_kind(call["cu_seq_lens_k"], is_windowed)
    longest = int(by_kind(_either(call, "max_seqlen_k", "max_length_k"), is_windowed))
    if not is_windowed:
        _write(new_k, new_v, slots_k, slots_v, cache.block_size, writes)
        batch = _once(step, group, lambda: _pages(reads, starts, longest, cache.block_size))
        return Keys(_paged(slots_k, cache.block_size), _paged(slots_v, cache.block_size), batch, group)
    if _max_q(call) == 1:
        # One query a sequence sees all of the ring, whose order does not matter then: pages of one slot.
        _write(new_k, new_v, slots_k, slots_v, cache.block_size, writes)
        batch = _once(step, group, lambda: _slots(reads, writes, starts))
        return Keys(_paged(slots_k, 1), _paged(slots_v, 1), batch, group)
    rows_k, rows_v = cache.update(key_states=k, value_states=v, layer_idx=module.layer_idx,
                                  read_index=call["read_index"], write_index=call["write_index"])
    batch = _once(step, "window", lambda: _rows(starts, longest))
    return Keys(rows_k, rows_v, batch, "window")


def _either(call: Options, *names: str) -> Any:
    """Arguments were renamed within 5.x."""
    return next(call[name] for name in names if name in call)


def _max_q(call: Options) -> int:
    return int(_either(call, "max_seqlen_q", "max_length_q"))


def _once(step: Step, key: Any, make: Any) -> Options:
    if key not in step.tables:
        step.tables[key] = make()
    return step.tables[key]


def _paged(slots: torch.Tensor, page_size: int) -> torch.Tensor:
    return slots.view(-1, page_size, *slots.shape[1:])


def _lengths(starts: torch.Tensor) -> torch.Tensor:
    return (starts[1:] - starts[:-1]).to(torch.int32)


def _rows(starts: torch.Tensor, longest: int) -> Options:
    return {"kv_starts": starts[:-1].to(torch.int32), "seqused_k": _lengths(starts),
            "max_seqlen_k": longest}


def _pages(reads: torch.Tensor, starts: torch.Tensor, longest: int, page_size: int) -> Options:
    """A block table: page j of a sequence is that of the slot of its token j * page_size. Entries past a
    sequence's last page are another's, and are never read."""
    num_pages = -(-longest // page_size)
    firsts = starts[:-1, None] + page_size * torch.arange(num_pages, device=starts.device)
    slots = reads[firsts.clamp(max=reads.numel() - 1)]
    return {"block_table": (slots // page_size).to(torch.int32), "seqused_k": _lengths(starts),
            "max_seqlen_k": longest}


def _slots(reads: torch.Tensor, writes: torch.Tensor, starts: torch.Tensor) -> Options:
    """Every slot a page; the new token is a sequence's last key."""
    indices = reads.to(torch.int32)
    indices[starts[1:].long() - 1] = writes.to(torch.int32)
    return {"page_indptr": starts.to(torch.int32), "page_indices": indices,
            "seqused_k": _lengths(starts)}


def _write(k: torch.Tensor, v: torch.Tensor, slots_k: torch.Tensor, slots_v: torch.Tensor,
           page_size: int, slot_mapping: torch.Tensor) -> None:
    pagoda.write_kv_cache(k, v, _paged(slots_k, page_size), _paged(slots_v, page_size), slot_mapping)
