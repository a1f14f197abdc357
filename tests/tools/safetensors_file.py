"""The safetensors format, written by hand so that files may also be wrong."""

import json
import struct

FORMATS = {"F32": "f", "I32": "i", "I64": "q", "U8": "B", "I8": "b", "BF16": "H", "F16": "e"}


class Tensor:
    """A dtype, a shape and flat values."""

    def __init__(self, dtype, shape, values):
        self.dtype = dtype
        self.shape = list(shape)
        self.values = list(values)

    def data(self):
        return struct.pack(f"<{len(self.values)}{FORMATS[self.dtype]}", *self.values)


def header_and_data(tensors, metadata=None):
    header = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, tensor in tensors.items():
        begin = len(data)
        data += tensor.data()
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape,
                        "data_offsets": [begin, len(data)]}
    return header, data


def encode(header, data):
    """`header`: an object, or the header's text."""
    text = header if isinstance(header, str) else json.dumps(header)
    return struct.pack("<Q", len(text)) + text.encode() + data


def read(path):
    """Tensors by name."""
    content = path.read_bytes()
    length, = struct.unpack_from("<Q", content)
    header = json.loads(content[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        code = FORMATS[entry["dtype"]]
        count = (end - begin) // struct.calcsize(code)
        values = struct.unpack_from(f"<{count}{code}", content, 8 + length + begin)
        tensors[name] = Tensor(entry["dtype"], entry["shape"], values)
    return tensors
