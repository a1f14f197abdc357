"""pagoda.make_kv_cache: what torch and NumPy see of it, how long its memory lives, its errors."""

import gc

import ml_dtypes
import numpy as np
import pagoda
import pytest

import oracle
import problems

torch = pytest.importorskip("torch")

SMALL = {"num_pages": 6, "page_size": 4, "num_kv_heads": 2, "head_dim": 16}
NUMPY_STAND_IN = {"bfloat16": np.uint16, "float8_e4m3": np.uint8, "float8_e5m2": np.uint8}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float8_e4m3", "float8_e5m2",
                                   "int8"])
@pytest.mark.parametrize("layout", ["hnd", "nhd"])
def test_torch_and_numpy_see_the_same_memory(dtype, layout):
    cache = pagoda.make_kv_cache(**SMALL, dtype=dtype, layout=layout)
    assert cache.k_pages.dtype == dtype and cache.k_pages.shape == (6, 4, 2, 16)
    array = np.asarray(cache.k_pages)
    tensor = torch.from_dlpack(cache.k_pages)
    assert array.dtype == NUMPY_STAND_IN.get(dtype, dtype)
    assert tensor.dtype == getattr(torch, {"float8_e4m3": "float8_e4m3fn"}.get(dtype, dtype))
    assert array.shape == tuple(tensor.shape) == (6, 4, 2, 16)
    strides = (128, 16, 64, 1) if layout == "hnd" else (128, 32, 16, 1)
    assert tuple(tensor.stride()) == strides
    assert tuple(s // array.itemsize for s in array.strides) == strides
    array[3, 1, 1, 5] = 1
    assert tensor.view(getattr(torch, array.dtype.name))[3, 1, 1, 5] == 1
    assert (np.asarray(cache.v_pages) == 0).all()
    assert (cache.k_token_scale is not None) == (dtype == "int8")


def test_defaults():
    cache = pagoda.make_kv_cache(num_pages=2, num_kv_heads=3, head_dim=128)
    assert cache.k_pages.dtype == "bfloat16" and cache.k_pages.shape == (2, 64, 3, 128)
    address = torch.from_dlpack(cache.k_pages).data_ptr()
    assert address % (2 << 20) == 0
    assert cache.k_token_scale is None and cache.v_token_scale is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, np.dtype(ml_dtypes.bfloat16), "bfloat16"])
def test_takes_the_types_of_frameworks(dtype):
    assert pagoda.make_kv_cache(**SMALL, dtype=dtype).v_pages.dtype == "bfloat16"


def test_fp8_with_token_scales():
    cache = pagoda.make_kv_cache(**SMALL, dtype="float8_e4m3", token_scales=True)
    assert cache.v_token_scale.shape == (6, 4, 2) and cache.v_token_scale.dtype == "float32"
    np.asarray(cache.v_token_scale)[5, 3, 1] = 2.5
    assert torch.from_dlpack(cache.v_token_scale)[5, 3, 1] == 2.5


@pytest.mark.parametrize("see", [np.asarray, np.from_dlpack, torch.from_dlpack])
def test_memory_lives_as_long_as_a_tensor_of_it(see):
    tensor = see(pagoda.make_kv_cache(**SMALL, dtype="float32").v_pages)
    gc.collect()
    tensor[...] = 3
    assert float(tensor.sum()) == 3 * 6 * 4 * 2 * 16


def test_a_capsule_that_nobody_takes():
    cache = pagoda.make_kv_cache(**SMALL)
    plain, versioned = cache.k_pages.__dlpack__(), cache.k_pages.__dlpack__(max_version=(1, 0))
    assert '"dltensor"' in repr(plain) and '"dltensor_versioned"' in repr(versioned)
    assert cache.k_pages.__dlpack_device__() == (1, 0)
    for refused in ({"copy": True}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError, match="host memory"):
            cache.k_pages.__dlpack__(**refused)


@pytest.mark.parametrize("layout", ["hnd", "nhd"])
@pytest.mark.parametrize("as_torch", [False, True])
def test_write_and_attend(layout, as_torch):
    """The calls take the cache's tensors as they are, and what torch makes of them."""
    rng = np.random.default_rng(3)
    q, k, v = (problems.random_values(rng, (7, heads, 16), problems.BF16) for heads in (4, 2, 2))
    cache = pagoda.make_kv_cache(**SMALL, layout=layout)
    k_pages, v_pages = cache.k_pages, cache.v_pages
    if as_torch:
        k_pages, v_pages = torch.from_dlpack(k_pages), torch.from_dlpack(v_pages)
    pagoda.write_kv_cache(k, v, k_pages, v_pages, np.arange(7) + 4)
    step = {"block_table": np.int32([[1, 2]]), "cu_seqlens_q": np.int32([0, 7]),
            "seqused_k": np.int32([7])}
    out = pagoda.attention(q, k_pages, v_pages, **step)
    pages = [np.asarray(p).view(problems.BF16) for p in (cache.k_pages, cache.v_pages)]
    assert np.array_equal(pages[0][1:3].reshape(8, 2, 16)[:7], k)
    oracle.check({"q": q, "k_pages": pages[0], "v_pages": pages[1], **step}, out)


@pytest.mark.parametrize(("change", "kind", "text"), [
    ({"num_pages": 0}, ValueError, "make_kv_cache: num_pages: got 0, wants 1 <= num_pages"),
    ({"num_pages": 2_000_000_000, "page_size": 64, "num_kv_heads": 64, "head_dim": 256}, ValueError,
     "num_pages: got 2000000000, which take .* ask for fewer pages"),
    ({"head_dim": 20}, ValueError, "head_dim: got 20, wants a multiple of 8"),
    ({"dtype": "int32"}, ValueError, "dtype: got int32, wants float32, .* or int8"),
    ({"dtype": "complex64"}, ValueError, "dtype: got 'complex64', wants one of float32"),
    ({"layout": "dnh"}, ValueError, "layout: got 'dnh', wants 'hnd' or 'nhd'"),
    ({"token_scales": True}, ValueError, "token_scales: got true with bfloat16 pages"),
])
def test_errors(change, kind, text):
    with pytest.raises(kind, match=text):
        pagoda.make_kv_cache(**{**SMALL, **change})
