"""Every image that is broken gets its reason, every one that is odd but right is read rightly; nothing is left out silently."""

import dataclasses
import os
import re
import tracemalloc
import unicodedata

import numpy as np
import pytest
from PIL import Image

from inside.data.loading import ImageDataset, make_loader
from inside.data.report import report_images
from inside.data.sources import open_dataset
from inside.data.split import split_images
from inside.data.table import UnreadableImage, decode_images, load_image, require_unchanged
from inside.data.transforms import make_transform
from inside.training.experiment import training_fingerprint
from shared.broken import BAD, RIGHT, content, frames, png_of
from shared.images import GRAY, table_of


def listed(folder, tmp_path, **options):
    return decode_images(open_dataset(str(folder)), cache=tmp_path / "cache", **options)


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_its_reason_and_hangs_nothing(make_folder, tmp_path, case):
    folder, (name, write, reason) = make_folder({"a": 2, "b": 2}), BAD[case]
    write(folder / "a" / name)
    images, bad = listed(folder, tmp_path)
    shown = name.encode(errors="backslashreplace").decode()
    assert list(bad["path"]) == [f"a/{shown}"] and len(images.table) == 4

    assert re.fullmatch(reason, bad["reason"][0]), bad["reason"][0]
    with pytest.raises(ValueError, match="^1 of 5 images cannot be decoded, the first is .*: repair or remove them, or set BAD_IMAGES"):
        listed(folder, tmp_path, bad_images="stop")


@pytest.mark.parametrize("case", RIGHT)
def test_an_odd_file_is_read_rightly(make_folder, tmp_path, case):
    folder, (name, write, size, colour, told) = make_folder({"a": 2, "b": 2}), RIGHT[case]
    write(folder / "a" / name)
    images, bad = listed(folder, tmp_path)
    row = images.table.set_index("path").loc[f"a/{name}"]
    assert len(bad) == 0 and (row["width"], row["height"]) == size and " ".join(images.notes) == told
    image = load_image(folder / "a" / name)
    assert image.mode == "RGB" and (colour is None or np.abs(np.subtract(image.getpixel((1, 1)), colour)).max() <= 4)


def test_a_decompression_bomb_takes_no_memory(make_folder, tmp_path):
    folder = make_folder({"a": 2, "b": 2})
    for number in range(20):
        content(png_of(30_000, 30_000))(folder / "a" / f"bomb{number}.png")
    tracemalloc.start()
    try:
        _, bad = listed(folder, tmp_path)
        assert len(bad) == 20 and tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_folders_that_are_named_like_images_are_folders(make_folder, tmp_path):
    folder = make_folder({"cats.jpg": 2, "b": 2, "b/more.png": 1})
    images, bad = listed(folder, tmp_path)
    assert images.classes == ["b", "cats.jpg"] and len(images.table) == 5 and len(bad) == 0


def test_links_are_followed_once_and_told_where_they_leave_the_folder(make_folder, tmp_path):
    folder, elsewhere = make_folder({"a": 2, "b": 2}), make_folder({"c": 3, "d": 2}, name="elsewhere")
    (folder / "c").symlink_to(elsewhere / "c")
    (folder / "a" / "far.png").symlink_to(elsewhere / "d" / "0.png")
    (folder / "b" / "near.png").symlink_to(folder / "a" / "0.png")
    images = open_dataset(str(folder))
    assert images.classes == ["a", "b", "c"] and len(images.table) == 9
    assert images.notes == ("4 images are used that symbolic links fetch from outside of the folder.",)
    (elsewhere / "c" / "up").symlink_to(folder.parent)  # a loop over two folders
    assert len(open_dataset(str(folder)).table) == 9


def test_folders_that_link_to_each_other_do_not_multiply(make_folder):
    folder = make_folder({"a": 1, "b": 1, **{f"a/{number}": 1 for number in range(12)}})
    for number in range(12):
        for other in range(12):
            (folder / "a" / str(number) / f"to{other}").symlink_to(folder / "a" / str(other))
    assert len(open_dataset(str(folder)).table) <= 14


@pytest.mark.parametrize("link, message", [("loop", "'loop'.*a link to a folder above it"), ("gone", "gone is a link to a folder that does not exist")])
def test_a_class_that_is_a_link_to_nothing_stops(make_folder, link, message):
    folder = make_folder({"a": 2, "b": 2})
    (folder / link).symlink_to("." if link == "loop" else "nowhere")
    with pytest.raises(ValueError, match=message):
        open_dataset(str(folder))


def test_what_the_system_refuses_is_told_and_tried_again(make_folder, tmp_path, monkeypatch):
    folder = make_folder({"a": 2, "b": 2})
    opened = Image.open
    def refuse(path, **options):
        if str(path).endswith("a/0.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, **options)
    with monkeypatch.context() as patch:
        patch.setattr("PIL.Image.open", refuse)
        images, bad = listed(folder, tmp_path)
        assert bad.to_dict("records") == [{"path": "a/0.png", "reason": "Permission denied"}] and len(images.table) == 3
    assert len(listed(folder, tmp_path)[1]) == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser can read everything")
def test_a_file_without_permission(make_folder, tmp_path):
    folder = make_folder({"a": 2, "b": 2})
    (folder / "a" / "0.png").chmod(0)
    assert list(listed(folder, tmp_path)[1]["reason"]) == ["Permission denied"]


def test_a_folder_that_cannot_be_listed_stops(make_folder, monkeypatch):
    folder, names = make_folder({"a": 2, "b": 2}), os.listdir
    def refuse(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return names(path)
    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(ValueError, match="The folder .*b.* cannot be listed .Permission denied.: make it readable, or remove it"):
        open_dataset(str(folder))


def test_a_file_that_goes_between_listing_and_decoding(make_folder, tmp_path):
    folder = make_folder({"a": 3, "b": 2})
    images = open_dataset(str(folder))
    (folder / "a" / "1.png").unlink()
    found, bad = decode_images(images, cache=tmp_path)
    assert bad.to_dict("records") == [{"path": "a/1.png", "reason": "No such file or directory"}] and len(found.table) == 4


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("harm, message", [(lambda path: path.unlink(), "is gone since the images were listed: put it back, or run notebook 01 again."),
                                           (lambda path: path.write_bytes(b""), "has changed since the images were listed and cannot be decoded (an empty file)")])
def test_a_file_that_goes_before_training_is_named_in_one_sentence(make_folder, tmp_path, monkeypatch, harm, message, workers):
    monkeypatch.setattr("inside.files.DATA", tmp_path / "data")  # no decoded images are kept there
    folder = make_folder({"a": 3, "b": 3})
    table, _ = table_of(folder, tmp_path)
    loader = make_loader(ImageDataset(table, folder, ["a", "b"], make_transform(GRAY, 16)), batch_size=6, workers=workers)
    harm(folder / "a" / "1.png")
    with pytest.raises(UnreadableImage) as error:
        next(iter(loader))
    assert message in str(error.value) and "a/1.png" in str(error.value) and "\n" not in str(error.value)


def test_a_change_is_noticed_whatever_its_size_and_time_and_split_and_stamps_follow(make_folder, tmp_path):
    folder = make_folder({"a": 6, "b": 6})
    def split():
        return split_images(listed(folder, tmp_path)[0], [0.5, 0.25, 0.25], seed=0)
    first, path = split(), folder / "a" / "1.png"
    same = split()
    assert same.fingerprint == first.fingerprint
    before, pixels = path.stat(), np.asarray(Image.open(path)).copy()
    Image.fromarray(pixels[::-1]).save(path)
    with open(path, "ab") as file:
        file.write(b"\0" * max(0, before.st_size - path.stat().st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = split()
    changed = first.table.set_index("path")["sha256"] != second.table.set_index("path")["sha256"].reindex(first.table["path"])
    assert list(changed.index[changed]) == ["a/1.png"] and second.fingerprint != first.fingerprint
    assert training_fingerprint({"SEED": 0}, first) != training_fingerprint({"SEED": 0}, second)
    require_unchanged(second.table, folder, cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="The image .*a/1.png.* is not the one that notebook 01 has split: run notebook 01 again"):
        require_unchanged(first.table, folder, cache=tmp_path / "cache")
    path.unlink()
    with pytest.raises(ValueError, match="a/1.png.* has split .No such file or directory.: run notebook 01 again"):
        require_unchanged(second.table, folder, cache=tmp_path / "cache")


def test_names_that_differ_in_case_or_unicode_form_only_are_all_kept(make_folder, tmp_path):
    both = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    folder = make_folder({"cats": 2, "b": 2})
    rng = np.random.default_rng(1)
    names = [*(f"{name}.png" for name in both), "IMG.png", "img.png", "Img.PNG"]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(folder / "b" / name)
    if len(os.listdir(folder / "b")) < 7:
        pytest.skip("this file system takes some of these names for the same")
    for label in both:
        (folder / label).mkdir()
        frames(folder / label / "x.gif")
    (folder / "Cats").mkdir()
    frames(folder / "Cats" / "x.gif")
    for _ in range(2):  # decoded, and from the cache
        images, bad = listed(folder, tmp_path)
        assert len(bad) == 0 and {f"b/{name}" for name in names} <= set(images.table["path"]) and len(images.classes) == 5
        assert images.table.set_index("path").loc[[f"b/{name}" for name in names], "sha256"].nunique() == 5
    told = " ".join(images.notes).replace("\u2068", "").replace("\u2069", "")
    assert told.count("look alike, but are different names and so different classes") == 2
    assert "('Cats')" in told and r"('caf\xe9')" in told and r"('cafe\u0301')" in told


@pytest.mark.parametrize("rubbish", [b"", b"\xff\xfe\0rubbish", b"path,bytes\na,1\n", b"path,bytes,changed,width,height,sha256,animated,reason\na/0.png,x,y,z,1,1,1,\n"])
def test_a_cache_that_cannot_be_read_is_made_anew_and_told_once(make_folder, tmp_path, capsys, rubbish):
    folder = make_folder({"a": 2, "b": 2})
    first, _ = table_of(folder, tmp_path)
    cache, = (tmp_path / "cache").glob("*.csv")
    cache.write_bytes(rubbish)
    capsys.readouterr()
    assert first.equals(table_of(folder, tmp_path)[0]) and "all images are decoded again" in capsys.readouterr().out
    assert first.equals(table_of(folder, tmp_path)[0]) and capsys.readouterr().out == ""


def test_the_cache_keeps_what_a_smaller_call_does_not_ask_for(make_folder, tmp_path, monkeypatch):
    folder = make_folder({"a": 3, "b": 3})
    listed(folder, tmp_path)
    Image.new("RGB", (5, 5)).save(folder / "a" / "1.png")
    images = open_dataset(str(folder))

    decode_images(dataclasses.replace(images, table=images.table.iloc[:2]), cache=tmp_path / "cache")
    monkeypatch.setattr("inside.data.table._examine", None)  # would fail if it were called
    assert len(listed(folder, tmp_path)[0].table) == 6


def test_a_class_without_a_good_image_stops(make_folder, tmp_path):
    folder = make_folder({"a": 2, "b": 2})
    for path in (folder / "b").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="No image of the class 'b' can be decoded, the first is b/0.png .an empty file.: repair"):
        listed(folder, tmp_path)
    for path in (folder / "a").iterdir():
        path.write_bytes(b"text")
    with pytest.raises(ValueError, match="None of the 4 images of .* can be decoded: the first is a/0.png .not an image file."):
        listed(folder, tmp_path)


def test_the_report_tells_what_is_odd(make_folder, tmp_path, one_thread):
    folder = make_folder({"a": 4, "A": 4})
    frames(folder / "a" / "moving.gif")
    content(b"")(folder / "a" / "empty.jpg")
    content(b"x")(folder / "a" / "phone.heic")
    shown = report_images(*listed(folder, tmp_path), seed=0)
    assert "9 images in 2 classes; 2 files could not be decoded." in shown[0].markdown
    assert shown[1].markdown.startswith("- The classes A (") and "animated, such as a/moving.gif: the first frame is used." in shown[1].markdown
    assert list(shown[3].parts[0].table["path"]) == ["a/empty.jpg", "a/phone.heic"]
