"""Tests of inside/curation/near_duplicates.py and features.py: copies planted among drawn scenes, and images that no copy can be told from."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_digits

from inside import files
from inside.curation import features, near_duplicates
from inside.curation.near_duplicates import (
    BITS,
    BY_CHANCE,
    CORRELATION,
    HIGHEST,
    TURNED,
    candidate_pairs,
    confirmation,
    cosines,
    find_pairs,
    hash_distances,
    make_thumbnails,
    perceptual_hashes,
)
from inside.data.sources import open_dataset
from inside.data.table import decode_images

COPIES = {"jpeg": lambda image: image, "half": lambda image: image.resize((75, 75)), "double": lambda image: image.resize((300, 300)),
          "cropped": lambda image: image.crop((9, 2, 148, 141)), "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.86),
          "mirrored": ImageOps.mirror}


@pytest.fixture(scope="module")
def planted(scenes, tmp_path_factory):
    """(images, {(path, copy)}): sixty drawn scenes and two copies of each kind among them; features are kept in a folder of its own."""
    folder, pairs = tmp_path_factory.mktemp("planted"), set()
    for path in sorted(scenes.rglob("*.jpg"))[::2]:
        (folder / "set" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "set" / path.parent.name / path.name)
    for number, path in enumerate(sorted((folder / "set").rglob("*.jpg"))[::5]):
        copy = path.with_name(f"{path.stem}-copy.jpg")
        kind = list(COPIES)[number % len(COPIES)]
        COPIES[kind](Image.open(path).convert("RGB")).save(copy, quality=50 if kind == "jpeg" else 90)
        pairs.add((f"{path.parent.name}/{copy.name}", f"{path.parent.name}/{path.name}"))
    images, _ = decode_images(open_dataset(str(folder / "set")), cache=folder / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "DATA", folder)
        yield images, pairs


@pytest.fixture(scope="module")
def found(planted):
    return find_pairs(planted[0].table, planted[0].root)


def test_planted_copies_are_found_and_nothing_else(planted, found):
    images, wanted = planted
    path = images.table["path"].to_numpy()
    ends = {tuple(sorted(pair)) for pair in zip(path[found.table["first"]], path[found.table["second"]], strict=True)}
    assert len(wanted) == 12 and ends == {tuple(sorted(pair)) for pair in wanted} and found.why_not == ""
    assert found.table["mirrored"].sum() == 2 and found.table["correlation"].is_monotonic_decreasing
    assert (found.table["distance"] <= BITS).all() and (found.table["correlation"] >= found.limit).all()
    assert 0 <= found.by_chance <= BY_CHANCE * len(path)


def test_features_are_computed_once_for_a_picture_and_shared(planted, found, monkeypatch, capsys):
    images, _ = planted
    table, network = images.table.head(5), features.build_network
    first = features.pretrained_features(table, images.root)
    monkeypatch.setattr(features, "build_network", lambda *_, **__: pytest.fail("computed again"))
    again = features.pretrained_features(pd.concat([table.iloc[::-1], table]), images.root)
    assert first.shape == (5, 1280) and (again == np.concatenate([first[::-1], first])).all()
    monkeypatch.setattr(features, "build_network", network)
    alone = features._compute(table.head(1), images.root, features.torch.device("cpu"), False)
    assert np.allclose(first[:1], alone, atol=2e-2)
    assert cosines(first, np.array([0, 1]), np.array([0, 2])) == pytest.approx(
        [1, first[1] @ first[2] / np.linalg.norm(first[1]) / np.linalg.norm(first[2])], rel=1e-5)


def test_blocks_find_what_all_pairs_find(planted):
    images, _ = planted
    thumbnails = make_thumbnails(images.table, images.root)
    hashes, turned = perceptual_hashes(thumbnails), perceptual_hashes(thumbnails[:, :, ::-1])
    assert (turned == hashes * TURNED).mean() > 0.999  # a coefficient can be 0
    every = {(i, j) for i in range(len(hashes)) for j in range(i + 1, len(hashes))
             if min((hashes[i] != hashes[j]).sum(), (hashes[i] * TURNED != hashes[j]).sum()) <= BITS}
    assert len(every) > 12
    for block in (7, 1024):
        first, second = candidate_pairs(hashes, block=block)
        assert len(first) == len(every) and set(zip(first.tolist(), second.tolist(), strict=True)) == every
    assert (hash_distances(hashes, first, second).min(0) <= BITS).all()


def images_of(arrays, tmp_path, labels="ab"):
    for number, pixels in enumerate(arrays):
        folder = tmp_path / "set" / labels[number % len(labels)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return decode_images(open_dataset(str(tmp_path / "set")), cache=tmp_path / "cache")[0]


def digits():
    return (load_digits().images[:300] * 15).astype(np.uint8)


def nearly_uniform():
    ramp = np.linspace(0, 1, 80)[None, :]
    return [np.clip(shade + ramp * np.ones((80, 1)) * (number % 3), 0, 255).astype(np.uint8) for number, shade in enumerate(range(0, 250, 5))]


@pytest.mark.parametrize("make, reason", [(digits, "of random pairs of images look alike to a perceptual hash"),
                                          (nearly_uniform, "of random pairs of images look alike to a perceptual hash")])
def test_it_turns_itself_off_where_unlike_images_collide(make, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "DATA", tmp_path)
    images = images_of(make(), tmp_path)
    found = find_pairs(images.table.drop_duplicates("sha256", ignore_index=True), images.root)
    assert reason in found.why_not and found.table.empty


def test_details_that_always_correlate_turn_it_off(planted, monkeypatch):
    images, _ = planted
    monkeypatch.setattr(near_duplicates, "detail_correlation", lambda first, second: np.full(len(first), 0.4))
    assert "correlate too highly" in find_pairs(images.table, images.root).why_not


def test_noise_has_no_near_duplicates(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "DATA", tmp_path)
    images = images_of(np.random.default_rng(0).integers(0, 256, (20, 66, 70, 3), dtype=np.uint8), tmp_path)
    found = find_pairs(images.table, images.root)
    assert found.table.empty and not found.why_not
    alone = find_pairs(images.table.head(1), images.root)
    assert alone.table.empty and not alone.why_not


def test_pairs_by_chance_are_estimated_and_the_limit_rises():
    rng = np.random.default_rng(0)
    unlike = rng.exponential(0.05, 20_000)
    limit, by_chance = confirmation(np.concatenate([unlike, np.full(300, 0.9)]), np.empty(0), 100_000)
    true = 20_000 * np.exp(-CORRELATION / 0.05)
    assert limit == CORRELATION and true / 3 < by_chance < 3 * true
    limit, by_chance = confirmation(unlike * 1.2, np.empty(0), 1000)
    assert CORRELATION < limit < HIGHEST and by_chance == pytest.approx(1) and 0.25 < 20_000 * np.exp(-limit / 0.06) < 4
    assert confirmation(unlike * 3, np.empty(0), 1000)[0] > HIGHEST and confirmation(np.linspace(0, 1, 2000), np.empty(0), 1000)[0] > HIGHEST
    assert confirmation(np.array([0.9, 0.95]), unlike[:300], 100) == (CORRELATION, 0)
    few = confirmation(np.array([0.1, 0.2]), unlike[:300], 100)
    assert few[0] == CORRELATION and 0 < few[1] < 0.01


def test_too_many_pairs_by_chance_turn_it_off(planted, monkeypatch):
    monkeypatch.setattr(near_duplicates, "confirmation", lambda *_: (0.9, 1234.0))
    found = find_pairs(planted[0].table, planted[0].root)
    assert found.table.empty and "too many unlike images" in found.why_not


def test_other_labels_change_nothing(planted, found):
    table = planted[0].table
    again = find_pairs(table.assign(label="x"), planted[0].root)
    pd.testing.assert_frame_equal(again.table, found.table)
    assert dataclasses.astuple(again)[2:] == dataclasses.astuple(found)[2:]
