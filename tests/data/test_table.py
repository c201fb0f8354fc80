"""Tests of inside/data/table.py."""

import dataclasses
import hashlib
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from inside.data.pixels import Pixels
from inside.data.sources import open_dataset
from inside.data.table import _examine, decode_images, describe_duplicates, duplicate_table, image_marks, load_image
from shared.images import table_of
from shared.processes import at_once, needs_fork


def test_digits_and_photo_patches(tmp_path):
    digits = open_dataset("digits", data=tmp_path)
    assert len(digits.table) == 1797 and digits.classes == [str(number) for number in range(10)]
    first = np.asarray(load_image(digits.root / "0" / "0000.png"))[..., 0]
    from sklearn.datasets import load_digits
    assert np.abs(first - load_digits().images[0] * 255 / 16).max() <= 0.5
    patches, _ = decode_images(open_dataset("photo_patches", data=tmp_path), cache=tmp_path)
    table = patches.table
    assert len(table) == 208 and set(table["width"]) == {48} and table["group"].isna().all()


def test_all_modes_become_right_rgb(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "gray16.png")
    Image.fromarray((ramp // 257).astype(np.uint8)).save(tmp_path / "gray8.png")
    for name in ("gray16.png", "gray8.png"):
        pixels = np.asarray(load_image(tmp_path / name)).astype(int)
        assert np.abs(pixels - (ramp / 257)[..., None]).max() <= 1, name
    color = Image.new("RGB", (8, 8), (200, 30, 90))
    color.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    color.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    for name in ("palette.png", "cmyk.jpg"):
        image = load_image(tmp_path / name)
        assert image.mode == "RGB" and np.abs(np.asarray(image).astype(int) - [200, 30, 90]).max() <= 4, name
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert load_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)


def test_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (20, 10), "white")
    image.paste("red", (0, 0, 10, 10))
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    image.save(tmp_path / "turned.png", exif=exif)
    upright = load_image(tmp_path / "turned.png")
    assert upright.size == (10, 20) and upright.getpixel((5, 2)) == (255, 0, 0) and upright.getpixel((5, 17)) == (255, 255, 255)


def test_bad_images_are_listed_or_stop(make_folder, tmp_path):
    folder = make_folder({"a": 3, "b": 3})
    (folder / "a" / "text.jpg").write_text("no image")
    whole = (folder / "b" / "0.png").read_bytes()
    (folder / "b" / "cut.png").write_bytes(whole[:len(whole) // 2])
    table, bad = table_of(folder, tmp_path)
    assert list(bad["path"]) == ["a/text.jpg", "b/cut.png"] and len(table) == 6
    assert bad["reason"][0] == "not an image file" and "truncated" in bad["reason"][1]
    with pytest.raises(ValueError, match="2 of 8 images cannot be decoded, the first is a/text.jpg"):
        table_of(folder, tmp_path, bad_images="stop")


def test_a_decoded_set_is_the_listed_one_with_more_columns(make_folder, tmp_path):
    folder = make_folder({"class 10": 2, "class 2": 2})
    (folder / "class 2" / "text.jpg").write_text("no image")
    listed = open_dataset(str(folder), data=tmp_path / "data")
    images, bad = decode_images(listed, cache=tmp_path / "cache")
    assert list(listed.table) == ["path", "label", "given"] and len(listed.table) == 5 and len(bad) == 1
    assert list(images.table) == ["path", "label", "given", "width", "height", "sha256", "group"] and len(images.table) == 4
    assert [getattr(images, name) for name in ("name", "root", "about", "drawn", "classes")] == [
        "images", folder, "the images of the folder images/", False, ["class 2", "class 10"]]
    flat, _ = decode_images(open_dataset(str(folder / "class 10"), labels=False), cache=tmp_path / "cache")
    assert flat.classes == [""] and len(flat.table) == 2


def test_a_second_call_decodes_only_what_has_changed(make_folder, tmp_path, monkeypatch):
    folder = make_folder({"a": 3, "b": 3})
    first, _ = table_of(folder, tmp_path)
    seen = []
    examine = _examine
    monkeypatch.setattr("inside.data.table._examine", lambda path, keep: seen.append(path.name) or examine(path, keep))
    second, _ = table_of(folder, tmp_path)
    pd.testing.assert_frame_equal(first, second)
    assert seen == []
    Image.new("RGB", (5, 5)).save(folder / "a" / "1.png")
    third, _ = table_of(folder, tmp_path)
    assert seen == ["1.png"] and third.set_index("path").loc["a/1.png", "width"] == 5


@needs_fork
def test_ten_runs_at_once_share_the_cache_of_decoded_images(make_folder, tmp_path):
    """Each decodes other parts of the set, so that all of them write the cache again and again while the others read it."""
    images = open_dataset(str(make_folder({"a": 15, "b": 15})), data=tmp_path / "data")
    whole, _ = decode_images(images, cache=tmp_path / "alone", workers=1)
    wanted = whole.table.set_index("path")["sha256"]

    def decode(number):
        for turn in range(10):
            part = dataclasses.replace(images, table=images.table.sample(12, random_state=10 * turn + number))
            found, bad = decode_images(part, cache=tmp_path / "cache", workers=1)
            assert bad.empty and found.table.set_index("path")["sha256"].equals(wanted[part.table["path"]])
        return True
    assert at_once(decode, 10) == [True] * 10
    assert {path.suffix for path in (tmp_path / "cache").rglob("*.*")} == {".csv", ".safetensors"}  # nothing temporary is left
    kept = Pixels(tmp_path / "cache" / "pixels")
    assert all(hashlib.sha256(b"12x10" + kept.get(key).numpy().tobytes()).hexdigest() == key for key in wanted)


def test_duplicates_are_found_by_pixels_not_by_files(make_folder, tmp_path):
    folder = make_folder({"a": 3, "b": 3})
    Image.open(folder / "a" / "0.png").save(folder / "a" / "again.bmp")  # another format
    shutil.copy(folder / "b" / "1.png", folder / "a" / "wrong.png")  # another label
    table, _ = table_of(folder, tmp_path)
    found = duplicate_table(table)
    assert found["group"].nunique() == 2
    assert set(found[found["conflicting"]]["path"]) == {"a/wrong.png", "b/1.png"}
    assert image_marks(table) == {"a/0.png": "† ", "a/again.bmp": "† ", "a/wrong.png": "‡ ", "b/1.png": "‡ "}


def test_what_is_told_of_duplicates_is_what_is_found(make_folder, tmp_path):
    """A copy in another lossless format is found, one that was compressed anew is not."""
    folder = make_folder({"a": 3, "b": 3})
    table, _ = table_of(folder, tmp_path)
    assert describe_duplicates(duplicate_table(table)) == "No two images have the same decoded pixels."
    Image.open(folder / "a" / "0.png").save(folder / "a" / "lossless.webp", lossless=True)
    Image.open(folder / "a" / "1.png").save(folder / "b" / "anew.jpg", quality=95)
    table, _ = table_of(folder, tmp_path)
    told = describe_duplicates(duplicate_table(table))
    assert set(duplicate_table(table)["path"]) == {"a/0.png", "a/lossless.webp"}
    assert told.startswith("1 group of images with the same decoded pixels, 0 of them with different labels.")
    shutil.copy(folder / "b" / "2.png", folder / "a" / "2-b.png")
    table, _ = table_of(folder, tmp_path)
    assert describe_duplicates(duplicate_table(table)).startswith("2 groups of images with the same decoded pixels, 1 of")
