"""What is said twice says the same: tables of the extension, types, schemas, versions."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pagoda
import pytest
from pagoda import _pagoda, options


def names(function):
    return {row[0] for row in _pagoda.OPTIONS[function]}


def test_types_name_every_option():
    of_attention = {"q", "k_pages", "v_pages", "out", "lse", "plan"}
    assert set(options.Problem.__annotations__) == names("attention") - of_attention


def test_functions_take_every_option():
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
    for function in ("attention", "unified_attention", "write_kv_cache", "gather_kv_cache"):
        schema = getattr(torch.ops.pagoda, function).default._schema
        objects = {row[0] for row in _pagoda.OPTIONS[function] if row[1] == "object"}
        assert {argument.name for argument in schema.arguments} == names(function) - objects
        outputs = {row[0] for row in _pagoda.OPTIONS[function] if row[1] == "output"}
        assert {a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write} == outputs


FUNCTIONS = [name for name in pagoda.__all__ if inspect.isfunction(getattr(pagoda, name))]


@pytest.mark.parametrize("name", [n for n in pagoda.__all__ if callable(getattr(pagoda, n))])
def test_every_name_is_documented(name):
    assert getattr(pagoda, name).__doc__


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings_tell_every_argument_and_what_is_raised(name):
    """Its own arguments; those of attention() may be named by name."""
    function = getattr(pagoda, name)
    text = function.__doc__
    own = {n for n, p in inspect.signature(function).parameters.items() if p.kind is not p.VAR_KEYWORD}
    if "Takes the arguments of attention()" in text:
        own -= {"q", "k_pages", "v_pages", "out"}
    missing = {n for n in own if not re.search(rf"\b{n}\b", text)}
    assert not missing and "Raises" in text


def test_the_stub_says_what_the_extension_has():
    """Names, functions and classes, their members included, and nothing else."""
    tree = ast.parse(Path(pagoda.__file__).with_name("_pagoda.pyi").read_text())
    stub = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            stub[node.name] = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            stub[node.name] = "function"
        elif isinstance(node, ast.AnnAssign):
            stub[node.target.id] = "value"
    own = {"__init__", "__new__", "__doc__", "__module__"}
    there = {}
    for name, value in vars(_pagoda).items():
        if isinstance(value, type):
            there[name] = set(vars(value)) - own
        elif name == "__version__" or not name.startswith("__"):
            there[name] = "function" if callable(value) else "value"
    assert stub == there


def test_unified_attention_passes_its_arguments_in_the_order_of_the_table(monkeypatch):
    taken = []
    monkeypatch.setattr("pagoda.unified.operations", lambda _: SimpleNamespace(
        unified_attention=lambda *values: taken.extend(values)))
    parameters = inspect.signature(pagoda.unified_attention).parameters
    given = {n: n for n in parameters} | {"window_size": ("window_left", "right")}
    pagoda.unified_attention(**given)
    want = [row[0] for row in _pagoda.OPTIONS["unified_attention"]]
    at = want.index("causal")
    assert taken[at:at + 2] == [True, "causal"]  # no bool, so one for each sequence
    assert taken[:at] + ["causal", "causal_per_seq"] + taken[at + 2:] == want
    defaults = {name: default for name, _, default, _ in _pagoda.OPTIONS["unified_attention"]}
    for name, parameter in parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name in defaults and parameter.default is not None:
            assert parameter.default == defaults[name], name


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
