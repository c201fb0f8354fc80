"""Tests of inside/data/pixels.py."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from safetensors import safe_open

from inside.data import pixels
from inside.data.pixels import Pixels, PixelWriter, make_room


def image(value, side=10):
    return np.full((side, side, 3), value, np.uint8)


def keep(folder, *values, side=10):
    with PixelWriter(folder) as writer:
        for value in values:
            writer.add(str(value), image(value, side))


def test_images_come_back_by_their_keys_also_in_another_process(tmp_path):
    keep(tmp_path / "pixels", 3, 4)
    keep(tmp_path / "pixels", 5)
    kept = Pixels(tmp_path / "pixels")
    assert kept.get("4").tolist() == image(4).tolist() and kept.get("6") is None
    assert pickle.loads(pickle.dumps(kept)).get("5").dtype == torch.uint8


def test_files_are_written_as_they_fill(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "SHARD", 700)
    keep(tmp_path, *range(7))
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    assert [int(Pixels(tmp_path).get(str(value))[0, 0, 0]) for value in range(7)] == list(range(7))


def test_threads_that_ask_at_once_all_find_what_is_kept(tmp_path, monkeypatch):
    """The first to ask opens the files; another once found none yet, and decoded an image that is kept."""
    keep(tmp_path, 1)
    opened, asked = threading.Event(), threading.Event()

    def slow(*arguments):
        opened.set()
        asked.wait(1)
        return safe_open(*arguments)
    monkeypatch.setattr(pixels, "safe_open", slow)
    kept = Pixels(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(kept.get, "1")
        assert opened.wait(10)
        second = pool.submit(kept.get, "1")
        asked.set()
        assert first.result() is not None and second.result() is not None


def test_the_files_used_longest_ago_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "LIMIT", 30_000)
    seen = set()
    for number in range(4):
        keep(tmp_path, number, side=50)  # 7,500 bytes each, and a header
        file, = {*tmp_path.glob("*.safetensors")} - seen
        seen.add(file)
        os.utime(file, (1000 + number, 1000 + number))
    assert Pixels(tmp_path).get("0") is None and Pixels(tmp_path).get("3") is not None
    assert make_room(tmp_path) <= 30_000


def test_a_file_that_cannot_be_read_is_told_and_removed(tmp_path, capsys):
    keep(tmp_path, 1)
    (tmp_path / "damaged.safetensors").write_bytes(b"rubbish")
    kept = Pixels(tmp_path)
    assert kept.get("1") is not None and kept.get("2") is None
    assert "damaged.safetensors cannot be read" in capsys.readouterr().out and not (tmp_path / "damaged.safetensors").exists()


def test_where_nothing_can_be_written_nothing_is_lost(tmp_path, capsys):
    (tmp_path / "pixels").write_text("a file where the folder should be")
    keep(tmp_path / "pixels", 1)
    assert "The cache of decoded images is not written" in capsys.readouterr().out
    assert Pixels(tmp_path / "pixels").get("1") is None


def test_images_beyond_the_room_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "SHARD", 600)
    monkeypatch.setattr(pixels, "LIMIT", 700)
    monkeypatch.setattr(pixels, "make_room", lambda folder: 0)
    keep(tmp_path, 1, 2, 3)
    assert [Pixels(tmp_path).get(str(value)) is not None for value in (1, 2, 3)] == [True, True, False]


def test_nothing_is_written_of_a_scan_that_was_stopped(tmp_path):
    try:
        with PixelWriter(tmp_path) as writer:
            writer.add("1", image(1))
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert not list(tmp_path.iterdir())
