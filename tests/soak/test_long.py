"""Long: what 300 epochs and 200 trials take of memory and open files. `python -m pytest tests/soak`: minutes."""

import os
from pathlib import Path

import pytest

from inside.data.sources import open_dataset
from inside.data.split import split_images
from inside.data.table import decode_images
from inside.files import RunFolder
from inside.selection import search
from inside.selection.search import run_search
from inside.training.experiment import train_into
from shared.searches import settings

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory and open files are read from /proc")
ALLOWED = 50e6  # bytes


class Gauge:
    """Memory (bytes in use) and the number of open files of this process, from call to call; the first `settled` are left out."""

    def __init__(self, settled):
        self.settled, self.memory, self.files = settled, [], []

    def __call__(self, *_):
        self.memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        self.files.append(len(os.listdir("/proc/self/fd")))

    def check(self, wanted, what):
        assert len(self.memory) == wanted
        grown = max(self.memory[self.settled:]) - self.memory[self.settled]
        print(f"\n{what}: memory {self.memory[self.settled] / 1e6:.0f} MB, grown by {grown / 1e6:.1f} MB at most; "
              f"open files {self.files[self.settled]} to {self.files[-1]}")
        assert grown < ALLOWED and self.files[-1] <= self.files[self.settled]


@pytest.fixture
def split(make_folder, tmp_path):
    """45 images of 12×10 pixels: what grows with epochs and trials would not grow less."""
    images, _ = decode_images(open_dataset(str(make_folder(dict.fromkeys("abc", 15)))), cache=tmp_path / "cache")
    return split_images(images, [0.6, 0.2, 0.2], seed=0)


@pytest.mark.parametrize("changes", [{}, {"STRATEGY": "head", "AUGMENTATION": "none"}], ids=["whole network", "head on cached features"])
def test_300_epochs(split, tmp_path, changes):
    gauge = Gauge(settled=20)
    train_into(RunFolder(str(tmp_path / "run")), settings(EPOCHS=300, **changes), split, features=tmp_path / "features", report=gauge)
    gauge.check(300, f"300 epochs {changes}")


def test_a_search_of_200_trials(split, tmp_path, monkeypatch):
    gauge, score = Gauge(settled=20), search.score

    def measured(*arguments):
        try:
            return score(*arguments)
        finally:
            gauge()
    monkeypatch.setattr(search, "score", measured)
    space = {"lr": [1e-4, 1e-1, "log"], "label_smoothing": [0.0, 0.3], "optimizer": ["sgd", "adamw"]}
    found = run_search(settings(space, SEARCH_TRIALS=200, SEARCH_EPOCHS=1), split, folder=tmp_path)
    assert len(found.trials) == 200
    gauge.check(200, "200 trials")
