"""All tests of feature maps run in one thread."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass
