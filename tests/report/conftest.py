"""A run folder that the tests of a folder may change."""

import pytest

from shared.run_folder import make_run_folder


@pytest.fixture
def run_folder(tmp_path):
    return make_run_folder(tmp_path / "run")
