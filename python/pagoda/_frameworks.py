"""What must be asked of the framework that a tensor comes from: new tensors, and streams where DLPack
does not tell. Nothing here imports a framework that the caller has not imported already."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def dtype_name(dtype: Any) -> str:
    """ "bfloat16" of torch.bfloat16, np.dtype("bfloat16") or "bfloat16"."""
    return str(dtype).rpartition(".")[2]


def _home(tensor: Any) -> str:
    return type(tensor).__module__.partition(".")[0]


def _torch_of(tensor: Any) -> Any:
    """The torch module if `tensor` is one of its tensors, subclasses of other packages included."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(tensor, torch.Tensor) else None


def empty(like: Any, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """A new tensor of like's framework, on its device; `dtype` by name, or like's own."""
    torch = _torch_of(like)
    if torch is not None:
        kind = like.dtype if dtype is None else getattr(torch, dtype)
        return torch.empty(shape, dtype=kind, device=like.device)
    home = _home(like)
    if home not in ("numpy", "cupy"):
        raise TypeError(f"out: got none for a tensor of {home}, wants one; Pagoda makes tensors of "
                        "torch, NumPy and CuPy only")
    return importlib.import_module(home).empty(shape, like.dtype if dtype is None else dtype)


def empty_bytes(like: Any, num_bytes: int) -> Any:
    """Workspace on like's device."""
    try:
        return empty(like, (num_bytes,), "uint8")
    except TypeError:
        raise TypeError("workspace: got none, wants a uint8 tensor on the device of "
                        "pagoda.workspace_size() bytes") from None


def current_stream(tensor: Any, device_index: int) -> int:
    """The CUDA stream on which tensor's framework is working."""
    torch = _torch_of(tensor)
    if torch is not None:
        return int(torch.cuda.current_stream(device_index).cuda_stream)
    if _home(tensor) == "cupy":
        return int(importlib.import_module("cupy").cuda.get_current_stream().ptr)
    raise TypeError(f"stream: got none for tensors of {_home(tensor)}, wants a cudaStream_t as an int")


def is_capturing(tensor: Any) -> bool:
    """Whether work on a torch tensor is recorded into a CUDA graph now, instead of done."""
    return bool(tensor.is_cuda and sys.modules["torch"].cuda.is_current_stream_capturing())
