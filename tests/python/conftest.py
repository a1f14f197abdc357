"""Where the tests run: PAGODA_TEST_DEVICE=cuda takes the CUDA backend; the default is the CPU. Models are
in float32 on the CPU and in bfloat16 on CUDA; PAGODA_TEST_DTYPE says otherwise."""

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=400,
                          suppress_health_check=list(HealthCheck))
settings.register_profile("search", deadline=None, max_examples=3000,
                          suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("PAGODA_HYPOTHESIS", "ci"))


@pytest.fixture(scope="session")
def device():
    return os.environ.get("PAGODA_TEST_DEVICE", "cpu")


@pytest.fixture(scope="session")
def dtype(device):
    """Of models: the CUDA backend takes 16-bit types."""
    torch = pytest.importorskip("torch")
    default = "float32" if device == "cpu" else "bfloat16"
    return getattr(torch, os.environ.get("PAGODA_TEST_DTYPE", default))
