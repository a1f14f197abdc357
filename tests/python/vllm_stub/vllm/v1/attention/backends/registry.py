from enum import Enum

registered = {}


class AttentionBackendEnum(Enum):
    FLASH_ATTN = "flash"
    CUSTOM = None


def register_backend(backend, class_path=None, is_mamba=False):
    registered[backend] = class_path
    return lambda cls: cls
