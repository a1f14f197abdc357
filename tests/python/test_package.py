"""What is said twice says the same: tables of the extension, types, schemas, versions."""

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pagoda
import pytest
from pagoda import _pagoda, options


def names(function):
    return {row[0] for row in _pagoda.OPTIONS[function]}


def test_types_name_every_option():
    of_attention = {"q", "k_pages", "v_pages", "out", "lse", "plan"}
    assert set(options.Problem.__annotations__) == names("attention") - of_attention


def test_functions_take_every_option():
    import inspect
    execution = set(options.Execution.__annotations__)
    for function in ("make_kv_cache", "write_kv_cache", "gather_kv_cache", "copy_pages",
                     "workspace_size", "merge_states"):
        taken = set(inspect.signature(getattr(pagoda, function)).parameters)
        if "execution" in taken:
            taken = taken - {"execution"} | execution
        assert taken == names(function), function


def test_schemas_hold_every_option():
    torch = pytest.importorskip("torch")
    import pagoda.torch  # noqa: F401
    for function in ("attention", "write_kv_cache", "gather_kv_cache"):
        schema = getattr(torch.ops.pagoda, function).default._schema
        objects = {row[0] for row in _pagoda.OPTIONS[function] if row[1] == "object"}
        assert {argument.name for argument in schema.arguments} == names(function) - objects
        outputs = {row[0] for row in _pagoda.OPTIONS[function] if row[1] == "output"}
        assert {a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write} == outputs


def test_every_name_is_documented():
    for name in pagoda.__all__:
        value = getattr(pagoda, name)
        if callable(value):
            assert value.__doc__, name


def test_version():
    try:
        assert metadata.version("pagoda-attention") == pagoda.__version__
    except metadata.PackageNotFoundError:
        assert re.fullmatch(r"\d+\.\d+\.\d+", pagoda.__version__)  # from a build folder


@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf")
def test_the_extension_needs_no_framework_and_no_driver():
    text = subprocess.run(["readelf", "-d", _pagoda.__file__], check=True, capture_output=True,
                          text=True).stdout
    needed = set(re.findall(r"NEEDED.*\[(.*?)\]", text))
    allowed = re.compile(r"(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|ld-linux.*)\.so.*")
    assert needed and all(allowed.fullmatch(name) for name in needed), needed
    assert Path(_pagoda.__file__).name.endswith(".abi3.so")
    assert sys.version_info >= (3, 11)
