"""Tests of inside/data/sources.py."""

import multiprocessing
import os
import pickle
import socket
import time
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
import torch

from inside.data import sources
from inside.data.demo import scenes as demo
from inside.data.loading import ImageDataset, make_loader
from inside.data.sources import open_dataset
from inside.data.transforms import make_transform
from shared.images import GRAY
from shared.processes import fork, needs_fork


def test_class_folders_without_hidden_ones(make_folder, tmp_path):
    folder = make_folder({"class 10": 2, "class 2": 3, "Apple": 2, ".ipynb_checkpoints": 2, "__MACOSX": 1})
    (folder / "class 2" / ".hidden.png").write_bytes(b"x")
    (folder / "class 2" / "Thumbs.db").write_bytes(b"x")
    source = open_dataset(str(folder), data=tmp_path)
    assert source.classes == ["Apple", "class 2", "class 10"]
    assert len(source.table) == 7 and (source.table["given"] == "").all()


@pytest.mark.parametrize("names, given", [
    (("train", "val"), {"train", "val"}), (("train", "test"), {"train", "test"}), (("Training", "valid"), {"train", "val"})])
def test_folders_with_given_parts(make_folder, tmp_path, names, given):
    make_folder({"a": 6, "b": 6}, name=f"set/{names[0]}")
    make_folder({"a": 2, "b": 2}, name=f"set/{names[1]}")
    source = open_dataset(str(tmp_path / "set"), data=tmp_path)
    assert set(source.table["given"]) == given and source.classes == ["a", "b"] and len(source.table) == 16


@pytest.mark.parametrize("nested", [True, False])
def test_intel_copy_is_merged(make_folder, tmp_path, nested):
    for part, count in (("seg_train", 5), ("seg_test", 2)):
        make_folder({"sea": count, "street": count}, name=f"intel/{part}/{part if nested else ''}".rstrip("/"))
    (tmp_path / "intel" / "seg_pred").mkdir()
    source = open_dataset(str(tmp_path / "intel"), data=tmp_path)
    assert source.classes == ["sea", "street"] and len(source.table) == 14 and (source.table["given"] == "").all()


def test_messages_for_folders_that_are_no_data_set(make_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="contains no image"):
        open_dataset(str(tmp_path / "empty"))
    flat = make_folder({"x": 2})
    with pytest.raises(ValueError, match="images but no class folders"):
        open_dataset(str(flat / "x"))
    with pytest.raises(ValueError, match="only one class, 'x'"):
        open_dataset(str(flat))
    (flat / "hollow").mkdir()
    with pytest.raises(ValueError, match="'hollow'.*contains no image"):
        open_dataset(str(flat))
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        open_dataset("cifar_10")
    assert len(open_dataset(str(flat / "x"), labels=False).table) == 2


@pytest.mark.parametrize("name, size", [("intel", "346 MB"), ("cifar10", "170 MB"), ("mnist", "12 MB"), ("imagenette", "94 MB")])
def test_what_cannot_be_fetched_says_so_within_seconds(tmp_path, monkeypatch, name, size):
    def refuse(*args, **kwargs):
        raise socket.gaierror("no network in this test")
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    start = time.perf_counter()
    with pytest.raises(ValueError, match="Set DATASET to a folder with a local copy") as error:
        open_dataset(name, data=tmp_path)
    assert size in str(error.value) and "https://" in str(error.value) and time.perf_counter() - start < 10
    assert not (tmp_path / name).exists() and {path.name for path in tmp_path.glob(".*")} <= {f".{name}.lock"}


def test_an_own_copy_of_cifar10(tmp_path):
    """A hand-made copy in CIFAR-10's own format; torchvision's checksum is set to it."""
    import hashlib

    import torchvision
    folder = tmp_path / "copy" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    def write(name, value):
        (folder / name).write_bytes(pickle.dumps(value))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]
    kind = torchvision.datasets.CIFAR10
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    rng = np.random.default_rng(0)
    def batch():
        return {"data": rng.integers(0, 256, (10, 3072), dtype=np.uint8), "labels": list(range(10))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "train_list", [write("data_batch_1", batch())])
        patch.setattr(kind, "test_list", [write("test_batch", batch())])
        meta = write("batches.meta", {"label_names": names})
        patch.setattr(kind, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
        source = open_dataset(str(tmp_path / "copy"), data=tmp_path / "data")
    assert source.classes == names and source.table["given"].value_counts().to_dict() == {"train": 10, "test": 10}


@pytest.mark.parametrize("augmentation", ["light", "strong"])
def test_augmentation_differs_by_image_and_by_epoch_but_not_by_seed(scenes, augmentation):
    source = open_dataset(str(scenes))
    table = source.table.iloc[[0] * 6]  # the same image six times in one batch
    dataset = ImageDataset(table, source.root, source.classes, make_transform(GRAY, 32, augmentation))
    def draw(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return next(iter(make_loader(dataset, batch_size=6)))[0]
    first = draw(0)
    assert all(not torch.equal(first[0], first[index]) for index in range(1, 6))
    assert torch.equal(first, draw(0)) and not torch.equal(first, draw(1))


def test_datasets_can_be_pickled(scenes):
    """As they are sent to spawned processes."""
    source = open_dataset(str(scenes))
    dataset = ImageDataset(source.table.head(4), source.root, source.classes, make_transform(GRAY, 16))
    sent = pickle.loads(pickle.dumps(dataset))
    assert all(torch.equal(sent[index][0], dataset[index][0]) for index in range(4))


@pytest.mark.soak
def test_datasets_can_be_sent_to_spawned_processes(scenes):
    """macOS and Windows start their workers by spawn: all of the data set must survive pickling there."""
    source = open_dataset(str(scenes))
    dataset = ImageDataset(source.table.head(4), source.root, source.classes, make_transform(GRAY, 16))
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=1,
                                         multiprocessing_context=multiprocessing.get_context("spawn"))
    assert torch.equal(torch.cat([images for images, _ in loader]), torch.stack([dataset[index][0] for index in range(4)]))


def first_call(name, folder, log):
    """Open a data set that has to be made; whoever makes it writes its number, and goes on when `folder`/go is there."""
    def slow(make):
        def held(*arguments, **options):
            with open(folder / "makers", "a") as file:
                file.write(f"{os.getpid()}\n")
            while not (folder / "go").exists():
                time.sleep(0.02)
            return make(*arguments, **options)
        return held
    demo.draw_scene = slow(demo.draw_scene)
    sources._NAMED["digits"] = ("digits", slow(sources._write_digits))
    with open(folder / log, "w") as file, redirect_stdout(file), redirect_stderr(file):
        print(len(open_dataset(name, demo_images=60, data=folder / "data").table), "images", flush=True)


@needs_fork
@pytest.mark.parametrize("name, count, folder", [("digits", 1797, "digits"), ("demo", 60, f"demo-{demo.VERSION}-60-0")])
def test_of_two_first_calls_at_once_one_makes_the_images_and_the_other_waits(tmp_path, name, count, folder):
    """The first is held in the middle of its work until the second has said that it waits, or has begun the same work."""
    def read(file):
        return (tmp_path / file).read_text() if (tmp_path / file).exists() else ""
    def wait_until(there):
        end = time.monotonic() + 120
        while not there() and time.monotonic() < end and not any(process.exitcode for process in running):
            time.sleep(0.02)
    (tmp_path / "data" / f".{folder}.draft" / "old").mkdir(parents=True)  # of a process that was killed
    running = [fork(first_call, name, tmp_path, "log1")]
    try:
        wait_until(lambda: read("makers"))
        running.append(fork(first_call, name, tmp_path, "log2"))
        wait_until(lambda: "waiting" in read("log2") or str(running[1].pid) in read("makers"))
        (tmp_path / "go").touch()
        for process in running:
            process.join(120)
        assert [process.exitcode for process in running] == [0, 0], read("log1") + read("log2")
    finally:
        for process in running:
            process.kill()
    assert set(read("makers").split()) == {str(running[0].pid)}
    assert f"{count} images" in read("log1") and "waiting" not in read("log1")
    made = tmp_path / "data" / folder
    assert read("log2") == f"waiting for another process, which is making {made}\n{count} images\n"
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {folder, f".{folder}.lock"}
