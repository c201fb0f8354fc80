"""All tests of attribution run in one thread."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass
