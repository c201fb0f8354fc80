"""Tests of inside/data/threads.py."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from inside.data import threads
from inside.data.augmentation import draw_numbers
from inside.data.threads import spread
from inside.data.transforms import make_transform

PREPROCESSING = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}


@pytest.fixture
def two_threads(one_thread):
    torch.set_num_threads(2)


def test_several_threads_work_at_once_and_results_keep_their_order(two_threads):
    together = threading.Barrier(2, timeout=20)  # broken unless two wait at the same time

    def work(number):
        together.wait()
        return 10 * number
    assert spread(work, iter(range(6))) == [0, 10, 20, 30, 40, 50] and spread(work, []) == []


def test_a_worker_of_a_loader_has_one_thread(two_threads, monkeypatch):
    monkeypatch.setattr(threads, "get_worker_info", lambda: True)
    assert set(spread(lambda _: threading.get_ident(), range(8))) == {threading.get_ident()}


@pytest.mark.parametrize("augmentation", ["none", "light", "strong"])
def test_images_do_not_depend_on_the_number_of_threads(two_threads, augmentation):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (30 + 3 * n, 40, 3), dtype=np.uint8)) for n in range(12)]
    transform, numbers = make_transform(PREPROCESSING, 32, augmentation), draw_numbers((0, 1, str(n)) for n in range(12))
    together = transform.images(range(12), numbers, load=images.__getitem__)
    torch.set_num_threads(1)
    assert torch.equal(together, transform.images(images, numbers))


def test_an_error_in_a_thread_is_that_of_the_call(two_threads):
    with pytest.raises(ValueError, match="the third"):
        spread(lambda number: 1 if number < 2 else (_ for _ in ()).throw(ValueError("the third")), range(4))
