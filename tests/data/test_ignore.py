"""Tests of inside/data/ignore.py: images that are struck out leave the split, and nothing else moves."""

import pandas as pd
import pytest

from inside import preflight
from inside.cli.profiles import default_parameters
from inside.data.ignore import check_ignored, describe_ignored, ignore_images, read_ignored
from inside.data.report import report_split
from inside.data.split import Split, split_table


@pytest.fixture
def drawn(tmp_path):
    table = pd.DataFrame({"path": [f"{'ab'[n % 2]}/{n}.png" for n in range(60)], "label": ["a", "b"] * 30, "given": "", "width": 9, "height": 9})
    table = table.assign(sha256=[str(n) for n in range(60)], group=pd.Series([None] * 60, dtype="Int64"))
    return Split(split_table(table, [0.6, 0.2, 0.2], seed=0), tmp_path, ["a", "b"])


def written(tmp_path, paths, column="path"):
    file = tmp_path / "struck out.csv"
    pd.DataFrame({column: paths, "reason": "blurred"}).to_csv(file, index=False)
    return str(file)


def test_struck_out_images_leave_their_part_and_all_others_keep_theirs(drawn, tmp_path):
    gone = [*drawn.parts["train"]["path"][:2], drawn.parts["test"]["path"].iloc[0]]
    left = ignore_images(drawn, written(tmp_path, gone))
    moved = drawn.table["split"] != left.table["split"]
    assert set(drawn.table.loc[moved, "path"]) == set(gone) and set(left.table.loc[moved, "split"]) == {""}
    assert left.fingerprint != drawn.fingerprint and len(left.parts["train"]) == len(drawn.parts["train"]) - 2
    told = describe_ignored(drawn.table, left.table)
    assert told == ["IGNORE leaves out 3 images: 2 of training, 1 of test. All others keep their part."]
    counts, sentences = report_split(left, [0.6, 0.2, 0.2], drawn)
    assert counts.table["train"].iloc[-1] == len(left.parts["train"]) and sentences.markdown.endswith(told[0])
    assert "not used" not in sentences.markdown and describe_ignored(drawn.table, drawn.table) == []


def test_nothing_is_struck_out_by_default(drawn):
    assert ignore_images(drawn, "").table.equals(drawn.table) and read_ignored("") == []


@pytest.mark.parametrize("content, told", [
    (None, "is no file"), ("file\na/0.png\n", "has no column path"), (b"\xff\xfe\x00path\x00\x01", "cannot be read"), ("", "cannot be read"),
    ("path\na/0.pgn\n", "names 'a/0.pgn', which the data set does not have: did you mean 'a/0.png'"),
    ("path\nx/1\nx/2\nx/3\n", "names 'x/1' and 2 others"), ("path\nx/1\nx/2\n", "names 'x/1' and another")])
def test_what_cannot_be_struck_out_is_told(drawn, tmp_path, content, told):
    file = tmp_path / "struck.csv"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error:
        ignore_images(drawn, str(file))
    assert told in str(error.value) and str(error.value).startswith("IGNORE") and "\n" not in str(error.value)


def test_a_class_must_be_left_in_every_part(drawn, tmp_path):
    gone = drawn.parts["val"].query("label == 'b'")["path"]
    with pytest.raises(ValueError, match="IGNORE leaves no image of the class 'b' in val"):
        ignore_images(drawn, written(tmp_path, gone))


def test_it_is_checked_before_anything_is_written(make_folder, tmp_path):
    settings = default_parameters() | {"DATASET": str(make_folder({"a": 20, "b": 20})), "RUN": str(tmp_path / "run"), "BATCH_SIZE": 8,
                                           "SPLIT": [0.6, 0.2, 0.2], "IGNORE": written(tmp_path, ["a/0.png", "c/9.png"])}
    with pytest.raises(ValueError, match="IGNORE names 'c/9.png', which the data set does not have"):
        preflight.check_images(settings)
    with pytest.raises(ValueError, match="IGNORE = 'gone.csv' is no file"):
        preflight.check_images(settings | {"IGNORE": "gone.csv", "DATASET": "demo"})
    preflight.check_images(settings | {"IGNORE": written(tmp_path, ["a/0.png"])})
    check_ignored("", [])
