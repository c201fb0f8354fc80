"""Tests of inside/data/loading.py."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader

from inside.data.demo.scenes import draw_scene
from inside.data.loading import EpochSampler, ImageDataset, LoaderOnDevice, TensorImages, count_workers, make_loader
from inside.data.sources import open_dataset
from inside.data.table import decode_images
from inside.data.transforms import make_transform
from shared.images import GRAY


def test_evaluation_is_fixed_and_the_whole_image():
    image = Image.new("RGB", (100, 50), "black")
    image.paste("white", (90, 0, 100, 50))
    tensor = make_transform(GRAY, 32)(image)
    assert tensor.shape == (3, 32, 32) and tensor.dtype == torch.float32
    assert tensor[:, :, 0].max() == -1 and tensor[:, :, -1].min() > 0.9  # the last column, (1 - 0.5) / 0.5 = 1
    assert torch.equal(tensor, make_transform(GRAY, 32)(image))


def test_preprocessing_is_that_of_the_weights():
    image = Image.new("RGB", (40, 40), (255, 0, 51))
    tensor = make_transform({"mean": [0.5, 0.4, 0.2], "std": [0.25, 0.2, 0.1], "interpolation": "bicubic"}, 16)(image)
    assert torch.allclose(tensor.mean((1, 2)), torch.tensor([2.0, -2.0, 0.0]), atol=1e-5)


@pytest.mark.parametrize("size", [(300, 200), (120, 333), (224, 224)])
def test_the_middle_is_cut_out_as_timm_does(size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    theirs = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg("tf_efficientnet_lite0").to_dict()))
    ours = make_transform({"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize": 256}, 224)
    assert torch.allclose(ours(image), theirs(image), atol=1e-6)


def test_unknown_augmentation():
    with pytest.raises(ValueError, match="did you mean 'strong'"):
        make_transform(GRAY, 32, "stronk")


def test_a_last_batch_of_one_is_dropped_in_training_only():
    dataset = TensorImages(torch.zeros(9, 3), [0] * 9)
    assert [len(batch[1]) for batch in make_loader(dataset, batch_size=4, shuffle=True)] == [4, 4]
    assert [len(batch[1]) for batch in make_loader(dataset, batch_size=4)] == [4, 4, 1]


def epoch_of(dataset, *, seed=0, epoch=1, batch_size=8, workers=0):
    """{index of an image: its tensor} of one shuffled epoch, and the order of the indices."""
    loader = make_loader(dataset, batch_size=batch_size, shuffle=True, workers=workers)
    loader.sampler.begin(seed, epoch)
    order = [draw.place for draw in loader.sampler]
    return dict(zip(order, torch.cat([images for images, _ in loader]), strict=False)), order


@pytest.mark.parametrize("augmentation", ["light", "strong"])
def test_the_augmentation_of_an_image_follows_from_seed_epoch_and_image_alone(scenes, augmentation):
    source = open_dataset(str(scenes))
    transform = make_transform(GRAY, 24, augmentation)
    dataset = ImageDataset(source.table, source.root, source.classes, transform)
    first, order = epoch_of(dataset)
    for options in ({"batch_size": 40}, {"workers": 2}, {"workers": 1, "batch_size": 3}):
        again, same_order = epoch_of(dataset, **options)
        assert order == same_order and all(torch.equal(again[index], first[index]) for index in again)
    fewer = ImageDataset(source.table.iloc[7:90], source.root, source.classes, transform)
    assert all(torch.equal(image, first[index + 7]) for index, image in epoch_of(fewer)[0].items())
    for options in ({"epoch": 2}, {"seed": 1}):
        other, new_order = epoch_of(dataset, **options)
        assert new_order != order and not any(torch.equal(other[index], first[index]) for index in order[:20])


def test_an_epoch_gives_each_image_once(scenes):
    sampler = EpochSampler(20)
    sampler.begin(3, 5)
    draws = list(sampler)
    assert sorted(draw.place for draw in draws) == list(range(20)) and {draw[:2] for draw in draws} == {(3, 5)}


def folder_of_photographs(folder, sizes):
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(sizes):
        path = folder / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return open_dataset(str(folder))


def loaded(table, images, transform, *, resize=False):
    dataset = ImageDataset(table, images.root, images.classes, transform)
    if resize:
        dataset.keep_resized()
    return torch.cat([batch for batch, _ in make_loader(dataset, batch_size=4)]), dataset


@pytest.mark.parametrize("preprocessing", [GRAY, GRAY | {"interpolation": "bicubic"}, {**GRAY, "channels": 1, "mean": [0.5], "std": [0.5]},
                                           GRAY | {"resize": 40}], ids=str)
@pytest.mark.parametrize(("sizes", "size"), [([(40, 30), (70, 90), (30, 40)], 32), ([(32, 32)] * 5, 32), ([(32, 32)] * 5, 48), ([(900, 60), (700, 800)], 32)],
                         ids=["of several sizes", "small", "small, made larger", "too large for the cache"])
def test_evaluation_is_the_same_to_the_bit_with_the_cache_and_without(tmp_path, monkeypatch, sizes, size, preprocessing):
    monkeypatch.setattr("inside.files.DATA", tmp_path / "data")
    images = folder_of_photographs(tmp_path / "photographs", sizes)
    transform = make_transform(preprocessing, size)
    without, _ = loaded(images.table, images, transform)  # no hashes: from the files
    one_by_one = torch.stack([transform(Image.open(images.root / path).convert("RGB")) for path in images.table["path"]])
    found, _ = decode_images(images, cache=tmp_path / "data" / "cache")
    kept, dataset = loaded(found.table, images, transform, resize=True)
    assert torch.equal(without, kept) and torch.equal(kept, one_by_one)
    for path in found.table["path"]:
        (images.root / path).write_bytes(b"")
    if max(max(each) for each in sizes) <= 512 or preprocessing.get("channels") != 1 and "resize" not in preprocessing:
        again, _ = loaded(found.table, images, transform)
        assert torch.equal(again, kept)  # from the cache indeed: the files are empty


def test_a_changed_image_is_not_taken_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("inside.files.DATA", tmp_path / "data")
    images, transform = folder_of_photographs(tmp_path / "photographs", [(40, 40)] * 4), make_transform(GRAY, 32)
    first, _ = loaded(decode_images(images, cache=tmp_path / "data" / "cache")[0].table, images, transform)
    Image.new("RGB", (40, 40), "red").save(images.root / images.table["path"][0])
    table = decode_images(images, cache=tmp_path / "data" / "cache")[0].table
    second, _ = loaded(table, images, transform)
    assert (second[0, 0] > 0.9).all() and not torch.equal(first[0], second[0]) and torch.equal(first[1:], second[1:])


def test_small_images_are_read_once(tmp_path, monkeypatch):
    images = folder_of_photographs(tmp_path / "photographs", [(32, 32)] * 6)
    table = images.table.assign(width=32, height=32)
    for augmentation in ("none", "light"):
        dataset, read = ImageDataset(table, images.root, images.classes, make_transform(GRAY, 32, augmentation)), []
        monkeypatch.setattr(dataset, "image", lambda index, read=read, real=dataset.image: (read.append(index), real(index))[1])
        for _ in range(3):
            list(make_loader(dataset, batch_size=4, shuffle=augmentation == "light"))
        assert dataset.memory.shape == (6, 3, 32, 32) and read.count(3) == 1


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("preprocessing", [GRAY, GRAY | {"channels": 1, "mean": [0.5], "std": [0.5]}], ids=["RGB", "grey"])
@pytest.mark.parametrize("side", [pytest.param(32, marks=pytest.mark.soak), pytest.param(200, marks=pytest.mark.soak), None], ids=["small", "of one size", "of several sizes, one of them large"])
def test_a_device_augments_as_workers_do(tmp_path, preprocessing, workers, side):
    sizes = [(side, side)] * 9 if side else [(150 + 9 * number, 130) for number in range(8)] + [(900, 600)]
    for number, size in enumerate(sizes):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        draw_scene("street", seed=0, index=number).resize(size).save(path)
    images = open_dataset(str(tmp_path))
    table = images.table.assign(**({"width": side, "height": side} if side else {}))
    transform = make_transform(preprocessing, 64, "light")
    dataset, same = (ImageDataset(table, images.root, images.classes, transform) for _ in range(2))
    options = {"batch_size": 5, "workers": workers, "shuffle": True}
    plain = make_loader(dataset, **options, device=torch.device("cpu"))
    assert type(plain) is DataLoader and isinstance(make_loader(same, **options, device=torch.device("meta")), LoaderOnDevice)
    on_device = LoaderOnDevice(same, torch.device("cpu"), batch_size=5, sampler=EpochSampler(9), num_workers=workers)
    wanted, _ = zip(*plain, strict=True)
    batches, targets = zip(*on_device, strict=True)
    assert [batch.shape for batch in batches] == [batch.shape for batch in wanted]
    levels = (torch.cat(batches) - torch.cat(wanted)).abs() * 255 / 2
    assert levels.mean() < 0.4 and levels.max() < 1.6 and torch.cat(targets).dtype == torch.int64


def test_workers_are_for_gpus(monkeypatch):
    class Slow(TensorImages):
        def __getitems__(self, indices):
            __import__("time").sleep(0.001 * len(indices))
            return super().__getitems__(indices)
    slow, fast = Slow(torch.zeros(32, 3), [0] * 32), TensorImages(torch.zeros(32, 3), [0] * 32)
    monkeypatch.setattr("inside.data.loading.count_cores", lambda: 8)
    assert count_workers(slow, 16) == 0
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert count_workers(slow, 16) == 7 and count_workers(fast, 16) == 0
    assert count_workers(slow, 16, torch.device("cuda")) == 7 and count_workers(slow, 16, torch.device("cpu")) == 0
    monkeypatch.setattr("inside.data.loading.count_cores", lambda: 1)
    assert count_workers(slow, 16) == 0
