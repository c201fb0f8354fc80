"""make soak: the long runs of README in small."""

import pytest

from inside.cli.main import main
from shared.kernels import forked_kernels  # noqa: F401
from shared.readme import RUNS, small


@pytest.mark.parametrize("start", ["demo -p DATASET", "digits --only", "photographs -p DATASET path/to/folder -p SEARCH_TRIALS"])
def test_long_runs_in_small(start, scenes, tmp_path):
    (words,) = [words for words in RUNS if " ".join(words).startswith(start)]
    assert main(small(words, tmp_path / "run", scenes)) == 0
    assert (tmp_path / "run" / "report.html").exists() and (tmp_path / "run" / "trials.csv").exists() == ("SEARCH_TRIALS" in words)
