"""Where the tests run: PAGODA_TEST_DEVICE=cuda takes the CUDA backend; the default is the CPU."""

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
