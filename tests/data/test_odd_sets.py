"""Every layout of a data set works, or is refused with one sentence before work is wasted."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from inside.data.listing import find_folder, look_alikes
from inside.data.sources import list_dataset, open_dataset
from inside.data.split import check_split_fits, split_images, split_table
from inside.data.table import decode_images
from shared.broken import content

SUFFIXES = ".bmp, .gif, .jfif, .jpe, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp"


def refused(folder, **sizes):
    """The sentence with which a folder is refused; {root} for its path."""
    with pytest.raises(ValueError) as error:
        open_dataset(str(folder))
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(folder), "{root}")


def test_no_class_and_one_class(make_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty") == (f"The folder {{root}} contains no image: point DATASET to a folder with one folder per class, with images that "
                                           f"end in {SUFFIXES}.")
    folder = make_folder({"flowers/daisy": 2, "flowers/rose": 2})
    assert refused(folder) == ("The folder {root} contains only one class, 'flowers': a classifier needs two, or point DATASET to {root}/flowers, which has "
                               "2 folders.")
    assert refused(make_folder({"x": 2}, name="single")) == "The folder {root} contains only one class, 'x': a classifier needs two."
    assert refused(folder / "flowers" / "rose") == ("The folder {root} contains images but no class folders: put the images of each class into a folder "
                                                    "named after the class.")


def test_images_of_no_supported_kind_are_not_no_images(make_folder):
    folder = make_folder({"a": 2, "b": 0})
    for number in range(3):
        content(b"x")(folder / "b" / f"{number}.heic")
    assert refused(folder) == ("The class folder 'b' of {root} contains no image that can be read (b/0.heic: HEIC is not supported: convert it to JPEG or "
                               "PNG, and 2 more): fill it or remove it.")
    shutil.rmtree(folder / "a")
    (folder / "b").rename(folder.parent / "b")
    assert refused(folder.parent / "b").startswith("The folder {root} contains no image")


def test_an_empty_class_folder(make_folder):
    assert refused(make_folder({"a": 2, "b": 2, "hollow": 0})) == "The class folder 'hollow' of {root} contains no image: fill it or remove it."


@pytest.mark.parametrize("parts, sentence", [
    (["train"], "contains train, but neither val/ nor test/: point DATASET to {root}/train, which SPLIT then divides."),
    (["Training"], "contains Training, but neither val/ nor test/: point DATASET to {root}/Training, which SPLIT then divides."),
    (["val", "test"], "contains test and val, but no train/: add it, or point DATASET to a folder with one folder per class."),
    (["test"], "contains test, but no train/: add it, or point DATASET to a folder with one folder per class.")])
def test_parts_of_a_split_that_is_not_whole(make_folder, tmp_path, parts, sentence):
    for part in parts:
        make_folder({"a": 2, "b": 2}, name=f"set/{part}")
    assert refused(tmp_path / "set") == f"The folder {{root}} {sentence}"


def test_what_stands_beside_is_told(make_folder, tmp_path):
    for part in ("train", "test", "unlabelled"):
        make_folder({"a": 4, "b": 4}, name=f"set/{part}")
    content(b"x")(tmp_path / "set" / "sample.png")
    images = open_dataset(str(tmp_path / "set"))
    assert images.notes == ("Not used, since they are none of the parts, or have no class folders: unlabelled.", "1 image lies beside the class folders, and so in no class: not used.")
    assert len(images.table) == 16


@pytest.mark.parametrize("others, given", [([], {""}), (["val"], {"train", "val"})])
def test_a_part_without_class_folders_is_not_used(make_folder, tmp_path, others, given):
    """The layout of many competitions: labels of test/ are not given away."""
    for part in ("train", *others):
        make_folder({"a": 20, "b": 20}, name=f"set/{part}")
    for number in range(5):
        content(b"x")(tmp_path / "set" / f"{number}.png")
    (tmp_path / "set" / "test").mkdir()
    for number in range(5):
        (tmp_path / "set" / f"{number}.png").rename(tmp_path / "set" / "test" / f"{number}.png")
    images = open_dataset(str(tmp_path / "set"))
    assert images.notes == ("Not used, since they are none of the parts, or have no class folders: test.",) and set(images.table["given"]) == given
    check_split_fits(images.table, [0.7, 0.12, 0.18])


@pytest.mark.parametrize("name, classes", [("MNIST", ["0", "1"]), ("domains", ["MNIST", "SVHN"]), ("sets", ["cifar-10-batches-py", "other"])])
def test_folders_may_have_the_names_of_known_sets(make_folder, tmp_path, name, classes):
    make_folder(dict.fromkeys(classes, 3), name=name)
    assert open_dataset(str(tmp_path / name)).classes == classes == sorted(set(list_dataset(str(tmp_path / name))["label"]))


def test_nested_and_hidden_folders(make_folder):
    folder = make_folder({"a": 1, "a/deep/er": 2, "b": 1, ".ipynb_checkpoints": 3, "__MACOSX": 2, "@eaDir": 1, "a/.cache": 2, "a/__MACOSX": 1, "__init": 1})
    for name in ("._0.png", "Thumbs.db", "desktop.ini", ".DS_Store", "notes.txt"):
        content(b"x")(folder / "b" / name)
    images = open_dataset(str(folder))
    assert images.classes == ["__init", "a", "b"] and len(images.table) == 5 and not images.refused and images.notes == ()


@pytest.mark.soak
def test_a_thousand_classes(tmp_path):
    for number in range(1000):
        (tmp_path / "set" / f"class {number}").mkdir(parents=True)
        for image in range(3):
            (tmp_path / "set" / f"class {number}" / f"{image}.jpg").touch()
    images = open_dataset(str(tmp_path / "set"))
    assert len(images.classes) == 1000 and images.classes[999] == "class 999"
    split = split_table(images.table.assign(sha256=images.table["path"]), [1000, 1000, 1000], seed=0)
    assert (pd.crosstab(split["label"], split["split"])[["train", "val", "test"]] == 1).all(axis=None)


def tables(sizes, same=False):
    rows = [(f"{label}/{number}.png", label, "", "x" if same else f"{label}{number}") for label, count in sizes.items() for number in range(count)]
    return pd.DataFrame(rows, columns=["path", "label", "given", "sha256"])


@pytest.mark.parametrize("table, sentence", [
    (tables({"a": 1, "b": 1}), "leaves a part empty with 2 images: use larger fractions"),
    (tables({f"c{number}": 1 for number in range(20)}), "The class 'c0' with its 1 image would have none in train: add images to it, remove it"),
    (tables({"a": 100, "b": 1}), "The class 'b' with its 1 image would have none in val: add images to it, remove it, or give that part a larger share"),
    (tables({"a": 10, "b": 10}, same=True), "The class 'a' has too few distinct images .1. for one in each of train, val, test: add images to it, or remove")])
def test_sets_that_cannot_be_split(table, sentence):
    with pytest.raises(ValueError, match=sentence):
        split_table(table, [0.6, 0.2, 0.2], seed=0)


def test_a_hundred_to_one_with_three_of_the_rare_class():
    split = split_table(tables({"a": 300, "b": 3}), [0.34, 0.33, 0.33], seed=0)
    assert sorted(split.loc[split["label"] == "b", "split"]) == ["test", "train", "val"]


def test_all_images_identical(make_folder, tmp_path):
    folder = make_folder({"a": 5, "b": 5})
    for path in folder.rglob("*.png"):
        Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(path)
    images, _ = decode_images(open_dataset(str(folder)), cache=tmp_path)
    with pytest.raises(ValueError, match="too few distinct images"):
        split_images(images, [0.6, 0.2, 0.2], seed=0)


@pytest.mark.parametrize("train, test, sentence", [({"a": 4, "b": 4}, {"a": 2, "b": 2, "new": 2}, "The class 'new' has no image in train: add images"),
                                                   ({"a": 4, "b": 4, "old": 4}, {"a": 2, "b": 2}, "The class 'old' has no image in test: add images")])
def test_a_class_that_is_not_in_all_parts(make_folder, tmp_path, train, test, sentence):
    make_folder(train, name="set/train")
    for path in make_folder(test, name="set/test").rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    images, _ = decode_images(open_dataset(str(tmp_path / "set")), cache=tmp_path)
    with pytest.raises(ValueError, match=sentence):
        split_images(images, [0.6, 0.2, 0.2], seed=0)


def test_the_same_folder_by_many_names(make_folder, tmp_path, monkeypatch):
    folder = make_folder({"a": 2, "b": 2})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(folder)
    for name in (str(folder), f"{folder}/", "images", "./images/", "images/../images", "~/images", "link"):
        assert find_folder(name) == folder, name


@pytest.mark.parametrize("name, sentence", [
    ("{tmp}/imagse", "is neither the name of a data set nor a folder (looked at {tmp}/imagse); did you mean '{tmp}/images'?"),
    ("{tmp}/images/nothing/like/it", "is neither the name of a data set nor a folder (looked at {tmp}/images/nothing/like/it); choose from demo, "),
    ("cifra10", "did you mean 'cifar10'?"), ("", "is neither the name of a data set nor a folder; choose from demo, "),
    ("  ", "is neither the name of a data set nor a folder; choose from demo, "),
    ("~nobody-of-this-name/images", "is neither the name of a data set nor a folder; "), ("x" * 5000, "is neither the name of a data set nor a folder; "),
    ("a\0b", "is neither the name of a data set nor a folder"), ("{tmp}/loop", "is neither the name of a data set nor a folder"),
    ("{tmp}/images.zip", "is a file: give the folder that holds one folder per class, and unpack an archive first.")])
def test_folders_that_are_not_there(make_folder, tmp_path, name, sentence):
    make_folder({"a": 2, "b": 2})
    (tmp_path / "images.zip").write_bytes(b"PK")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ValueError) as error:
        find_folder(name.format(tmp=tmp_path))
    assert sentence.format(tmp=tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser can read everything")
def test_a_set_without_permission(make_folder):
    folder = make_folder({"a": 2, "b": 2})
    folder.chmod(0)
    try:
        assert "cannot be listed (Permission denied): make it readable" in refused(folder)
    finally:
        folder.chmod(0o700)


def test_a_set_in_a_folder_without_permission(monkeypatch):
    def refuse(path, **options):
        raise PermissionError(13, "Permission denied", str(path))
    monkeypatch.setattr("pathlib.Path.exists", refuse)
    with pytest.raises(ValueError, match="DATASET = '/closed/set' cannot be reached .Permission denied.: make the folders above it readable"):
        find_folder("/closed/set")


def test_class_folders_that_are_not_utf8(make_folder):
    folder = make_folder({"a": 2, "b": 2})
    os.mkdir(os.fsencode(folder) + b"/caf\xe9")
    assert refused(folder) == r"The folder caf\udce9 of {root} has a name that is not valid UTF-8: rename it."


@pytest.mark.parametrize("names, alike", [(["cats", "Cats"], True), (["cats", "cats "], True), (["ca\u200bts", "cats"], True), (["ﬁn", "fin"], True),
                                          (["straße", "STRASSE"], True), (["cat", "cats"], False), (["о", "o"], False)])
def test_classes_that_look_alike(names, alike):
    told = look_alikes(names)
    assert len(told) == alike and (not told or ascii(names[0]) in told[0].replace("\u2068", "").replace("\u2069", ""))
