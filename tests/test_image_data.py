"""Images: layouts, decoding, duplicates, the split and its proof, transforms and loaders, at their limits."""

import itertools
import multiprocessing
import re
import shutil
import socket
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import helpers
import image_data

GRAY = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}


def table_of(folder, tmp_path, **options):
    source = image_data.open_dataset(str(folder), data=tmp_path / "data")
    return image_data.image_table(source, cache=tmp_path / "cache", **options)


# ---------------------------------------------------------------------------------------- sources

def test_class_folders_without_hidden_ones(make_folder, tmp_path):
    folder = make_folder({"class 10": 2, "class 2": 3, "Apple": 2, ".ipynb_checkpoints": 2, "__MACOSX": 1})
    (folder / "class 2" / ".hidden.png").write_bytes(b"x")
    (folder / "class 2" / "Thumbs.db").write_bytes(b"x")
    source = image_data.open_dataset(str(folder), data=tmp_path)
    assert source.classes == ["Apple", "class 2", "class 10"]
    assert len(source.files) == 7 and (source.files["given"] == "").all()


@pytest.mark.parametrize("names, given", [
    (("train", "val"), {"train", "val"}), (("train", "test"), {"train", "test"}), (("Training", "valid"), {"train", "val"})])
def test_folders_with_given_parts(make_folder, tmp_path, names, given):
    make_folder({"a": 6, "b": 6}, name=f"set/{names[0]}")
    make_folder({"a": 2, "b": 2}, name=f"set/{names[1]}")
    source = image_data.open_dataset(str(tmp_path / "set"), data=tmp_path)
    assert set(source.files["given"]) == given and source.classes == ["a", "b"] and len(source.files) == 16


@pytest.mark.parametrize("nested", [True, False])
def test_intel_copy_is_merged(make_folder, tmp_path, nested):
    for part, count in (("seg_train", 5), ("seg_test", 2)):
        make_folder({"sea": count, "street": count}, name=f"intel/{part}/{part if nested else ''}".rstrip("/"))
    (tmp_path / "intel" / "seg_pred").mkdir()
    source = image_data.open_dataset(str(tmp_path / "intel"), data=tmp_path)
    assert source.classes == ["sea", "street"] and len(source.files) == 14 and (source.files["given"] == "").all()


def test_messages_for_folders_that_are_no_data_set(make_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        image_data.open_dataset(str(tmp_path / "empty"))
    flat = make_folder({"x": 2})
    with pytest.raises(ValueError, match="images but no class folders"):
        image_data.open_dataset(str(flat / "x"))
    with pytest.raises(ValueError, match="one class only, 'x'"):
        image_data.open_dataset(str(flat))
    (flat / "hollow").mkdir()
    with pytest.raises(ValueError, match="'hollow'.*holds no image"):
        image_data.open_dataset(str(flat))
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        image_data.open_dataset("cifar_10")
    assert len(image_data.open_dataset(str(flat / "x"), labels=False).files) == 2


def test_digits_and_photo_patches(tmp_path):
    digits = image_data.open_dataset("digits", data=tmp_path)
    assert len(digits.files) == 1797 and digits.classes == [str(number) for number in range(10)]
    first = np.asarray(image_data.load_image(digits.root / "0" / "0000.png"))[..., 0]
    from sklearn.datasets import load_digits
    assert np.abs(first - load_digits().images[0] * 255 / 16).max() <= 0.5
    patches = image_data.open_dataset("photo_patches", data=tmp_path)
    table, _ = image_data.image_table(patches, cache=tmp_path)
    assert len(table) == 208 and set(table["width"]) == {48} and table["group"].isna().all()


@pytest.mark.parametrize("name, size", [("intel", "346 MB"), ("cifar10", "170 MB"), ("mnist", "12 MB"), ("imagenette", "94 MB")])
def test_what_cannot_be_fetched_says_so_within_seconds(tmp_path, monkeypatch, name, size):
    def refuse(*args, **kwargs):
        raise socket.gaierror("no network in this test")
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    start = time.perf_counter()
    with pytest.raises(ValueError, match="Set DATASET to a folder that holds an own copy") as error:
        image_data.open_dataset(name, data=tmp_path)
    assert size in str(error.value) and "https://" in str(error.value) and time.perf_counter() - start < 10
    assert not (tmp_path / name).exists() and not list(tmp_path.glob(".*"))


def test_an_own_copy_of_cifar10(tmp_path):
    """A hand-made copy in CIFAR-10's own format; torchvision's checksum is set to it."""
    import hashlib
    import pickle

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
        source = image_data.open_dataset(str(tmp_path / "copy"), data=tmp_path / "data")
    assert source.classes == names and source.files["given"].value_counts().to_dict() == {"train": 10, "test": 10}


# ---------------------------------------------------------------------------------------- decoding

def test_all_modes_become_right_rgb(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "gray16.png")
    Image.fromarray((ramp // 257).astype(np.uint8)).save(tmp_path / "gray8.png")
    for name in ("gray16.png", "gray8.png"):
        pixels = np.asarray(image_data.load_image(tmp_path / name)).astype(int)
        assert np.abs(pixels - (ramp / 257)[..., None]).max() <= 1, name
    color = Image.new("RGB", (8, 8), (200, 30, 90))
    color.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    color.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    for name in ("palette.png", "cmyk.jpg"):
        image = image_data.load_image(tmp_path / name)
        assert image.mode == "RGB" and np.abs(np.asarray(image).astype(int) - [200, 30, 90]).max() <= 4, name
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert image_data.load_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)


def test_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (20, 10), "white")
    image.paste("red", (0, 0, 10, 10))
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    image.save(tmp_path / "turned.png", exif=exif)
    upright = image_data.load_image(tmp_path / "turned.png")
    assert upright.size == (10, 20) and upright.getpixel((5, 2)) == (255, 0, 0) and upright.getpixel((5, 17)) == (255, 255, 255)


def test_bad_images_are_listed_or_stop(make_folder, tmp_path):
    folder = make_folder({"a": 3, "b": 3})
    (folder / "a" / "text.jpg").write_text("no image")
    whole = (folder / "b" / "0.png").read_bytes()
    (folder / "b" / "cut.png").write_bytes(whole[:len(whole) // 2])
    table, bad = table_of(folder, tmp_path)
    assert list(bad["path"]) == ["a/text.jpg", "b/cut.png"] and len(table) == 6
    assert bad["reason"][0] == "no image file" and "truncated" in bad["reason"][1]
    with pytest.raises(ValueError, match="2 of 8 images cannot be decoded, the first is a/text.jpg"):
        table_of(folder, tmp_path, bad_images="stop")


def test_a_second_call_decodes_only_what_has_changed(make_folder, tmp_path, monkeypatch):
    folder = make_folder({"a": 3, "b": 3})
    first, _ = table_of(folder, tmp_path)
    seen = []
    examine = image_data._examine
    monkeypatch.setattr(image_data, "_examine", lambda path: seen.append(path.name) or examine(path))
    second, _ = table_of(folder, tmp_path)
    pd.testing.assert_frame_equal(first, second)
    assert seen == []
    Image.new("RGB", (5, 5)).save(folder / "a" / "1.png")
    third, _ = table_of(folder, tmp_path)
    assert seen == ["1.png"] and third.set_index("path").loc["a/1.png", "width"] == 5


def test_duplicates_are_found_by_pixels_not_by_files(make_folder, tmp_path):
    folder = make_folder({"a": 3, "b": 3})
    Image.open(folder / "a" / "0.png").save(folder / "a" / "again.bmp")  # another format
    shutil.copy(folder / "b" / "1.png", folder / "a" / "wrong.png")  # another label
    table, _ = table_of(folder, tmp_path)
    found = image_data.duplicate_table(table)
    assert found["group"].nunique() == 2
    assert set(found[found["conflicting"]]["path"]) == {"a/wrong.png", "b/1.png"}
    assert image_data.image_marks(table) == {"a/0.png": "† ", "a/again.bmp": "† ", "a/wrong.png": "‡ ", "b/1.png": "‡ "}


def test_what_is_told_of_duplicates_is_what_is_found(make_folder, tmp_path):
    """A copy in another lossless format is found, one that was compressed anew is not, and the sentence says both."""
    folder = make_folder({"a": 3, "b": 3})
    table, _ = table_of(folder, tmp_path)
    assert image_data.describe_duplicates(image_data.duplicate_table(table)).startswith("No two images have the same decoded pixels. ")
    Image.open(folder / "a" / "0.png").save(folder / "a" / "lossless.webp", lossless=True)
    Image.open(folder / "a" / "1.png").save(folder / "b" / "anew.jpg", quality=95)
    table, _ = table_of(folder, tmp_path)
    told = image_data.describe_duplicates(image_data.duplicate_table(table))
    assert set(image_data.duplicate_table(table)["path"]) == {"a/0.png", "a/lossless.webp"}
    assert told.startswith("1 group of images with the same decoded pixels, 0 of them with several labels. ")
    assert "compressed anew" in told and "not found" in told
    shutil.copy(folder / "b" / "2.png", folder / "a" / "2-b.png")
    table, _ = table_of(folder, tmp_path)
    assert image_data.describe_duplicates(image_data.duplicate_table(table)).startswith("2 groups of images with the same decoded pixels, 1 of")


def test_names_with_signs_that_are_digits_in_one_sense_only():
    assert helpers.natural_sort(["m²", "²", "m10", "m2"]) == ["m2", "m10", "m²", "²"]


# ---------------------------------------------------------------------------------------- split

def make_table(sizes, duplicates=()):
    """A table without files: `sizes` {label: images}; `duplicates` [(path, path)] get the same pixels."""
    rows = [(f"{label}/{number}", label) for label, size in sizes.items() for number in range(size)]
    table = pd.DataFrame(rows, columns=["path", "label"]).assign(given="", width=1, height=1)
    table["sha256"] = [f"pixels of {path}" for path in table["path"]]
    for first, second in duplicates:
        table.loc[table["path"] == second, "sha256"] = f"pixels of {first}"
    shared = table["sha256"].duplicated(keep=False)
    table["group"] = pd.Series(pd.factorize(table["sha256"].where(shared))[0], dtype="Int64").mask(~shared)
    return table


def grouped_table(singles, groups, given=""):
    """A table of `singles` {label: images} and `groups`, each a list of the labels under which one picture is stored."""
    rows = [(f"{label}/{number}", label, f"pixels of {label}/{number}") for label, size in singles.items() for number in range(size)]
    rows += [(f"{label}/{number}-{place}", label, f"pixels of group {number}")
             for number, labels in enumerate(groups) for place, label in enumerate(labels)]
    table = pd.DataFrame(rows, columns=["path", "label", "sha256"]).assign(given=given, width=1, height=1)
    shared = table["sha256"].duplicated(keep=False)
    table["group"] = pd.Series(pd.factorize(table["sha256"].where(shared))[0], dtype="Int64").mask(~shared)
    return table


def class_shares(table):
    """Images by class and part."""
    return image_data.class_counts(table).set_index("class")[list(helpers.SPLITS)].iloc[:-1]


def test_the_course_split_is_exact():
    """The Intel scenes' class sizes: 12,034 / 2,000 / 3,000 from the profile's fractions and from counts."""
    sizes = {"buildings": 2628, "forest": 2745, "glacier": 2957, "mountain": 3037, "sea": 2784, "street": 2883}
    table = make_table(sizes)
    for wanted in ([0.706469, 0.117412, 0.176119], [12034, 2000, 3000]):
        split = image_data.split_images(table, wanted, seed=0)
        assert split["split"].value_counts().to_dict() == {"train": 12034, "test": 3000, "val": 2000}
        shares = class_shares(split)
        for name, size in sizes.items():
            assert abs(shares.loc[name, "test"] - 3000 * size / 17034) < 1
            assert abs(shares.loc[name, "val"] - 2000 * size / 17034) < 1


def test_split_is_seeded():
    table = make_table({"a": 50, "b": 30})
    first, again, other = (image_data.split_images(table, [0.6, 0.2, 0.2], seed=seed)["split"] for seed in (1, 1, 2))
    assert first.equals(again) and not first.equals(other)


@pytest.mark.parametrize("seed", range(8))
def test_duplicates_stay_on_one_side_and_sizes_hold(seed):
    pairs = [("a/0", "a/1"), ("a/0", "a/2"), ("a/3", "b/3"), ("b/4", "b/5"), ("b/6", "a/6"), ("a/7", "a/8")]
    table = image_data.split_images(make_table({"a": 40, "b": 40}, pairs), [40, 20, 20], seed=seed)
    assert table["split"].value_counts().to_dict() == {"train": 40, "val": 20, "test": 20}
    assert (table.groupby("sha256")["split"].nunique() == 1).all()
    assert image_data.split_overlaps(table)[["shared paths", "shared content"]].to_numpy().sum() == 0


def split_quotas(table, sizes):
    """The images that each class has in each part where the same classes have no duplicates; ValueError as there."""
    return class_shares(image_data.split_images(make_table(table["label"].value_counts().sort_index()), sizes, seed=0))


@pytest.mark.parametrize("singles, groups, misses", [
    ({"a": 10}, [["a"] * 30], 4),  # shares 28, 5, 7: the group and nothing else in train
    ({}, [["a"] * 3] * 13, 2),  # shares 27, 5, 7
    ({"b": 50}, [["a"] * 2] * 25, 2),  # shares 35, 6, 9
    ({}, [["a", "b"]] * 20, 4),  # a class that is stored a second time under another name
    ({"a": 1, "b": 5}, [["a"] * 9, ["a"] * 9], 12),  # shares 14, 2, 3: 9 + 1 + 9, since 18 + 0 + 1 leaves a part empty
    ({"a": 25, "b": 25}, [["a", "b"]], 0)])
def test_duplicates_cost_no_class_its_parts(singles, groups, misses):
    table, sizes = grouped_table(singles, groups), [0.7, 0.12, 0.18]
    for seed in range(3):
        split = image_data.split_images(table, sizes, seed=seed)
        assert (split["split"] != "").all() and (split.groupby("sha256")["split"].nunique() == 1).all()
        assert class_shares(split).min(axis=None) > 0
        assert np.abs(class_shares(split) - split_quotas(table, sizes)).sum(axis=None) == misses


SIZES = st.sampled_from([[0.7, 0.12, 0.18], [0.4, 0.3, 0.3], [0.5, 0.2, 0.2]])


@st.composite
def grouped_tables(draw, most=60, groups=10):
    """Tables with any class sizes and any duplicates, within classes and across them."""
    labels = ["a", "b", "all", "10"][:draw(st.integers(1, 4))]
    singles = {label: draw(st.integers(0, most)) for label in labels}
    return grouped_table(singles, draw(st.lists(st.lists(st.sampled_from(labels), min_size=2, max_size=7), max_size=groups, min_size=1)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(grouped_tables(), SIZES, st.integers(0, 99))
def test_any_duplicates_split_whole_complete_and_in_every_part(table, sizes, seed):
    try:
        split = image_data.split_images(table, sizes, seed=seed)
    except ValueError as error:
        assert any(f"The class {label!r}" in str(error) for label in set(table["label"])) or "leaves a part empty" in str(error)
        return
    assert (split.groupby("sha256")["split"].nunique() == 1).all()
    assert set(image_data.class_counts(split)["class"][:-1]) == set(table["label"]) and class_shares(split).min(axis=None) > 0
    assert sum(sizes) < 0.99 or (split["split"] != "").all()
    other_order = table.sample(frac=1, random_state=seed)
    assert image_data.split_images(other_order, sizes, seed=seed).sort_index()["split"].equals(split["split"])
    quota = split_quotas(table, sizes)
    pictures = pd.crosstab(table["sha256"], table["label"])[quota.index].to_numpy()[:, :, None]  # (pictures, classes, 1)
    wanted, parts, unused = quota.to_numpy(), np.eye(3), np.zeros(3)
    place = split.groupby("sha256")["split"].first().map(dict(zip((*helpers.SPLITS, ""), (*parts, unused), strict=True)))
    found = (pictures * np.stack(place)[:, None]).sum(0)
    assert (found == class_shares(split).loc[quota.index]).all(axis=None)
    for picture, part in zip(pictures, place, strict=True):  # no picture can be moved so that the shares come nearer
        for other in [*parts, unused][:3 if sum(sizes) > 0.99 else 4]:
            moved = found + picture * (other - part)
            assert moved.min() == 0 or np.abs(moved - wanted).sum() >= np.abs(found - wanted).sum()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(grouped_tables(most=2, groups=5), st.integers(0, 9))
def test_no_other_split_of_whole_groups_is_nearer(table, seed):
    """Against all assignments of few pictures: the least sum of misses, and an error only where no assignment fits."""
    sizes = [0.4, 0.3, 0.3]
    pictures = pd.crosstab(table["sha256"], table["label"])
    if len(pictures) > 7:
        return
    try:
        quota = split_quotas(table, sizes)
    except ValueError:
        return
    places = np.eye(3)[list(itertools.product(range(3), repeat=len(pictures)))]  # (assignments, pictures, parts)
    counts = np.einsum("kc,akp->acp", pictures[quota.index], places)
    legal = counts.min(axis=(1, 2)) > 0
    if not legal.any():
        with pytest.raises(ValueError, match="The class '"):
            image_data.split_images(table, sizes, seed=seed)
        return
    best = np.abs(counts[legal] - quota.to_numpy()).sum(axis=(1, 2)).min()
    assert np.abs(class_shares(image_data.split_images(table, sizes, seed=seed)) - quota).sum(axis=None) == best


@pytest.mark.parametrize("singles, groups, message", [
    ({"a": 40}, [["b"] * 40], "The class 'b' has too few different pictures \\(1\\)"),
    ({"a": 40, "b": 1}, [["b"] * 40], "The class 'b' has too few different pictures \\(2\\)"),
    ({}, [["a", "b", "c"], ["a", "b", "d"], ["a", "c", "d"], ["b", "c", "d"]] * 1, "The class 'a' shares so many pictures with b, c, d")])
def test_too_few_different_pictures(singles, groups, message):
    with pytest.raises(ValueError, match=message) as error:
        image_data.split_images(grouped_table(singles, groups), [0.4, 0.3, 0.3], seed=0)
    assert "add images" in str(error.value)


def test_another_seed_is_another_split_also_of_duplicates():
    table = grouped_table({"b": 20}, [["a"] * 3] * 13)
    drawn = {seed: image_data.split_images(table, [0.6, 0.2, 0.2], seed=seed)["split"] for seed in range(4)}
    of_a = {tuple(split[table["label"] == "a"]) for split in drawn.values()}
    assert len(of_a) == 4 and drawn[1].equals(image_data.split_images(table, [0.6, 0.2, 0.2], seed=1)["split"])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(grouped_tables(), st.integers(0, 9), st.sampled_from([("test",), ("val",), ("val", "test")]))
def test_given_parts_with_any_duplicates(table, seed, given_parts):
    rng = np.random.default_rng(seed)
    table = table.assign(given=rng.choice(["train", *given_parts], size=len(table)))
    held = "test" if (table["given"] == "test").any() else "val"
    try:
        split = image_data.split_images(table, [0.7, 0.12, 0.18], seed=seed)
    except ValueError as error:
        assert re.search("The class '(a|b|all|10)'|leaves (no training image|a part empty)", str(error))
        return
    used = split[split["split"] != ""]
    assert class_shares(split).min(axis=None) > 0 and image_data.split_overlaps(split).iloc[:, 1:].to_numpy().sum() == 0
    if (table["given"] != "train").any():
        assert (split.loc[table["given"] == held, "split"] == "test").all()
        unused = split[split["split"] == ""]
        assert unused["sha256"].isin(used.loc[used["split"] != "train", "sha256"]).all()


def test_a_class_without_a_given_test_image_is_named():
    table = grouped_table({"a": 20, "b": 20}, [])
    table["given"] = ["test" if path in ("a/0", "a/1") else "train" for path in table["path"]]
    with pytest.raises(ValueError, match="The class 'b' has no image in test: add images"):
        image_data.split_images(table, [0.7, 0.12, 0.18], seed=0)
    table = grouped_table({"a": 20}, [["b", "b"]] * 3)
    table["given"] = ["test" if path in ("a/0", "b/0-0", "b/1-0", "b/2-0") else "train" for path in table["path"]]
    with pytest.raises(ValueError, match="'b' has no image in train, and 3 of its images are not used since their pixels are in a given"):
        image_data.split_images(table, [0.7, 0.12, 0.18], seed=0)


def test_the_proof_sees_a_leak():
    table = image_data.split_images(make_table({"a": 30, "b": 30}), [0.6, 0.2, 0.2], seed=0)
    train = table.index[table["split"] == "train"][0]
    test = table.index[table["split"] == "test"][0]
    table.loc[test, "sha256"] = table.loc[train, "sha256"]
    overlaps = image_data.split_overlaps(table).set_index("parts")
    assert overlaps.loc["train and test", "shared content"] == 1 and overlaps["shared paths"].sum() == 0
    val = table.index[table["split"] == "val"][0]
    table.loc[val, "path"] = table.loc[train, "path"]
    overlaps = image_data.split_overlaps(table).set_index("parts")
    assert overlaps["shared paths"].to_dict() == {"train and val": 1, "train and test": 0, "val and test": 0}


def test_given_test_images_stay_and_their_copies_are_not_used():
    table = make_table({"a": 30, "b": 30}, [("a/0", "a/29"), ("b/0", "b/1")])
    table.loc[table["path"].isin(["a/29", "b/29", "a/28", "b/28"]), "given"] = "test"
    table.loc[table["given"] == "", "given"] = "train"
    split = image_data.split_images(table, [0.8, 0.1, 0.1], seed=0).set_index("path")["split"]
    assert (split[["a/29", "b/29", "a/28", "b/28"]] == "test").all() and (split == "test").sum() == 4
    assert split["a/0"] == "" and split["b/0"] == split["b/1"] != ""
    table["given"] = table["given"].replace({"test": "val"})
    again = image_data.split_images(table, [0.8, 0.1, 0.1], seed=0).set_index("path")["split"]
    assert (again[["a/29", "b/29"]] == "test").all()


def test_three_given_parts_are_kept():
    table = make_table({"a": 10, "b": 10}, [("a/0", "a/1")])
    table["given"] = ["train"] * 6 + ["val"] * 2 + ["test"] * 2 + ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    split = image_data.split_images(table, [0.8, 0.1, 0.1], seed=0)
    assert split["split"].tolist() == table["given"].tolist()


@pytest.mark.parametrize("sizes, split, message", [
    ({"a": 30, "b": 30}, [50, 20, 10], "asks for 80 images, but there are 60"),
    ({"a": 30, "b": 30}, [0.9, 0.01, 0.01], "class 'b' with its 30 images would have none in val"),
    ({"a": 60, "b": 2}, [0.6, 0.2, 0.2], "class 'b' with its 2 images would have none in (val|test)"),
    ({"a": 30, "b": 30}, [0.7, 0.5, 0.2], "SPLIT"),
    ({"a": 30, "b": 30}, [0.7, 0.3], "SPLIT"),
    ({"a": 30, "b": 30}, [0.7, -0.1, 0.2], "SPLIT"),
])
def test_splits_that_cannot_be(sizes, split, message):
    with pytest.raises(ValueError, match=message):
        image_data.split_images(make_table(sizes), split, seed=0)


def test_sizes_below_the_whole_leave_images_unused():
    split = image_data.split_images(make_table({"a": 100, "b": 50}), [30, 15, 15], seed=0)
    assert split["split"].value_counts().to_dict() == {"": 90, "train": 30, "val": 15, "test": 15}
    assert split[split["split"] != ""]["label"].value_counts().to_dict() == {"a": 40, "b": 20}


def test_split_file_gives_back_the_table(tmp_path):
    table = image_data.split_images(make_table({"NA": 20, "7": 20}, [("7/0", "7/1")]), [0.5, 0.2, 0.2], seed=0)
    read = image_data.save_split(tmp_path / "split.csv", table)
    pd.testing.assert_frame_equal(read, table[read.columns].astype({"width": "int64", "height": "int64"}), check_dtype=False)
    assert set(read["label"]) == {"NA", "7"} and (read["split"] == "").sum() == 4


@pytest.mark.parametrize("labels", [["a", "b"], ["all", "b"], ["all", "(all)", "((all))"], ["mean", "nan"]])
def test_the_sum_of_the_counts_is_the_last_row_whatever_the_classes_are_called(labels):
    split = image_data.split_images(make_table(dict.fromkeys(labels, 20) | {labels[0]: 30}), [0.6, 0.2, 0.2], seed=0)
    counts = image_data.class_counts(split)
    assert list(counts["class"][:-1]) == helpers.natural_sort(labels) and counts["class"].is_unique
    assert counts.set_index("class").loc[labels[0], ["train", "val", "test"]].tolist() == [18, 6, 6]
    sums = counts.iloc[-1]
    assert sums[["train", "val", "test"]].tolist() == [split["split"].value_counts()[part] for part in helpers.SPLITS]
    assert np.allclose(counts.iloc[:-1, 4:].sum(), 100) and np.allclose(sums[4:].astype(float), 100)


# ---------------------------------------------------------------------------------------- captions

WORDS = st.text("ab/1.x…", min_size=1, max_size=70)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(WORDS, max_size=12), st.integers(4, 30))
def test_short_paths_differ_where_paths_do(paths, width):
    shown = image_data.short_paths(paths, width)
    assert len(set(shown)) == len(set(paths)) and all(len(line) <= width for text in shown for line in text.split("\n"))
    for path, text in zip(paths, shown, strict=True):
        text = text.replace("\n", "")
        assert path.endswith(text) or (text[0] == "…" and path.endswith(text[1:]) and len(text) <= len(path))


def test_captions_tell_the_images_of_a_grid_apart():
    """Photographs are often numbered anew in each class folder: the number alone names several of them."""
    paths = ["buildings/1.jpg", "street/1.jpg", "buildings/a very long name of an image 1.jpg", "street/a very long name of an image 1.jpg"]
    table = pd.DataFrame({"path": paths, "label": ["buildings", "street"] * 2, "predicted": "street", "prob_street": 0.5, "prob_buildings": 0.5})
    texts, colors = image_data.captions(table, None, {"street/1.jpg": "‡ "})
    first = [text.split("\ntrue")[0] for text in texts]
    assert first[:2] == ["buildings/1.jpg", "‡ street/1.jpg"] and len(set(first)) == 4
    assert texts[0].endswith("\ntrue: buildings\npredicted: street\nscore: 0.500") and colors[0] != colors[1] == colors[3]


def test_samples_are_different_images_of_each_class(make_folder, tmp_path):
    folder = make_folder({"class 10": 1, "class 2": 5} | {f"x{number}": 2 for number in range(12)})
    table, _ = table_of(folder, tmp_path)
    for seed in range(5):
        sample = image_data.draw_samples(table, seed=seed)
        assert sample["path"].is_unique and sample["label"].value_counts().drop("class 10").eq(2).all()
        assert list(sample["label"].unique()) == [*["class 2", "class 10"], *(f"x{number}" for number in range(10))]
    assert not image_data.draw_samples(table, seed=0).equals(image_data.draw_samples(table, seed=1))


def test_every_row_of_the_augmentation_names_its_image(make_folder, tmp_path):
    folder = make_folder({"a": 1, "b": 1})
    table, _ = table_of(folder, tmp_path)
    transforms = {kind: image_data.make_transform(GRAY, 16, name) for kind, name in (("eval", "none"), ("train", "light"))}
    fig = image_data.show_augmentation(table, folder, transforms, GRAY, seed=0, draws=2)
    assert [ax.get_xlabel() for ax in fig.axes] == ["a/0.png\nas evaluated", "", "", "b/0.png\nas evaluated", "", ""]
    plt.close(fig)


def test_captions_are_no_formulas():
    fig = image_data.show_images([Image.new("L", (4, 4))], ["$\\frac$ a_b $x$"], columns=1, title="$\\nothing$")
    fig.canvas.draw()
    assert fig.axes[0].get_xlabel() == "$\\frac$ a_b $x$"
    plt.close(fig)


# ---------------------------------------------------------------------------------------- tensors

def test_evaluation_is_fixed_and_the_whole_image():
    image = Image.new("RGB", (100, 50), "black")
    image.paste("white", (90, 0, 100, 50))
    tensor = image_data.make_transform(GRAY, 32)(image)
    assert tensor.shape == (3, 32, 32) and tensor.dtype == torch.float32
    assert tensor[:, :, 0].max() == -1 and tensor[:, :, -1].min() > 0.9  # the last column, (1 - 0.5) / 0.5 = 1
    assert torch.equal(tensor, image_data.make_transform(GRAY, 32)(image))


def test_preprocessing_is_that_of_the_weights():
    image = Image.new("RGB", (40, 40), (255, 0, 51))
    tensor = image_data.make_transform({"mean": [0.5, 0.4, 0.2], "std": [0.25, 0.2, 0.1], "interpolation": "bicubic"}, 16)(image)
    assert torch.allclose(tensor.mean((1, 2)), torch.tensor([2.0, -2.0, 0.0]), atol=1e-5)


@pytest.mark.parametrize("augmentation", ["light", "strong"])
def test_augmentation_differs_by_image_and_by_epoch_but_not_by_seed(scenes, augmentation):
    source = image_data.open_dataset(str(scenes))
    table = source.files.iloc[[0] * 6]  # the same image six times in one batch
    dataset = image_data.ImageDataset(table, source.root, source.classes, image_data.make_transform(GRAY, 32, augmentation))
    def draw(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return next(iter(helpers.make_loader(dataset, batch_size=6)))[0]
    first = draw(0)
    assert all(not torch.equal(first[0], first[index]) for index in range(1, 6))
    assert torch.equal(first, draw(0)) and not torch.equal(first, draw(1))


def test_unknown_augmentation():
    with pytest.raises(ValueError, match="did you mean 'strong'"):
        image_data.make_transform(GRAY, 32, "stronk")


def test_order_follows_the_seed_also_with_workers(scenes):
    source = image_data.open_dataset(str(scenes))
    dataset = image_data.ImageDataset(source.files, source.root, source.classes, image_data.make_transform(GRAY, 16, "light"))
    def batches(seed, workers):
        loader = helpers.make_loader(dataset, batch_size=40, shuffle=True, workers=workers)
        loader.generator.manual_seed(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return [images for images, _ in loader]
    for workers in (0, 1):
        first, again, other = batches(5, workers), batches(5, workers), batches(6, workers)
        assert all(map(torch.equal, first, again)) and not torch.equal(first[0], other[0])


def test_datasets_can_be_sent_to_spawned_processes(scenes):
    """macOS and Windows start their workers by spawn: all of the data set must survive pickling there."""
    source = image_data.open_dataset(str(scenes))
    dataset = image_data.ImageDataset(source.files.head(4), source.root, source.classes, image_data.make_transform(GRAY, 16))
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=1,
                                         multiprocessing_context=multiprocessing.get_context("spawn"))
    assert torch.equal(torch.cat([images for images, _ in loader]), torch.stack([dataset[index][0] for index in range(4)]))


def test_a_last_batch_of_one_is_dropped_in_training_only():
    dataset = helpers.TensorImages(torch.zeros(9, 3), [0] * 9)
    assert [len(batch[1]) for batch in helpers.make_loader(dataset, batch_size=4, shuffle=True)] == [4, 4]
    assert [len(batch[1]) for batch in helpers.make_loader(dataset, batch_size=4)] == [4, 4, 1]


def test_the_profile_for_train_and_val_folders_holds_out_a_fifth_of_each_class(make_folder):
    import run as runner
    profile = runner.read_profile("inaturalist")
    root = make_folder({"train/birds": 50, "train/fungi": 30, "val/birds": 10, "val/fungi": 6})
    table, _ = image_data.image_table(image_data.open_dataset(str(root)), cache=root.parent / "cache")
    counts = image_data.split_images(table, profile["SPLIT"], seed=0).groupby(["label", "split"]).size().to_dict()
    assert counts == {("birds", "train"): 40, ("birds", "val"): 10, ("birds", "test"): 10,
                      ("fungi", "train"): 24, ("fungi", "val"): 6, ("fungi", "test"): 6}
    assert profile["SAMPLE_GRID"] == [10, 3]
