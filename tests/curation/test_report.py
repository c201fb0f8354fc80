"""Tests of inside/curation/report.py and describe.py."""

import pandas as pd
import pytest

from inside.curation.describe import describe_near_duplicates
from inside.curation.groups import NearDuplicates
from inside.curation.report import report_near_duplicates
from inside.data.sources import open_dataset
from inside.data.table import decode_images
from inside.shown import Figure, Fold, Text


@pytest.fixture
def images(make_folder, tmp_path):
    return decode_images(open_dataset(str(make_folder({"cats": 4, "dogs": 9}))), cache=tmp_path / "cache")[0]


def found(ends, mode="group", apart=0):
    rows = [(None if number < apart else number, one, other, 3, 0.9, 0.6 + number / 100, number == 0) for number, (one, other) in enumerate(ends)]
    pairs = pd.DataFrame(rows, columns=["group", "path", "other_path", "distance", "cosine", "correlation", "mirrored"]).astype({"group": "Int64"})
    return NearDuplicates(pairs, mode, "", 0.5, 0.0123)


def test_pairs_stand_side_by_side_those_with_two_labels_first(images):
    ends = [("cats/0.png", "cats/1.png"), ("cats/2.png", "cats/3.png"), ("dogs/0.png", "cats/3.png")]
    told, figure, fold = report_near_duplicates(found(ends), images, at_most=2)
    assert (type(told), type(figure), type(fold)) == (Text, Figure, Fold)
    labels = [ax.get_xlabel() for ax in figure.drawing.axes if ax.get_visible()]
    assert labels == ["dogs/0.png\n‡ distance 3", "cats/3.png\n‡ correlation 0.62", "cats/0.png\ndistance 3, mirrored", "cats/1.png\ncorrelation 0.60"]
    assert figure.caption.startswith("1 pair with different labels (‡), and the 1 with the lowest correlations, of 3: ")
    assert "dogs/0.png and cats/3.png; cats/0.png and cats/1.png" in figure.alt
    table = fold.parts[0].table
    assert len(table) == 3 and table["conflicting"].tolist() == [False, False, True] and "split" not in table
    assert report_near_duplicates(found(ends[:1]), images)[1].caption.startswith("The pair, of 1: ")


def test_sentences(images):
    ends = [("cats/0.png", "cats/1.png"), ("cats/1.png", "cats/2.png"), ("dogs/0.png", "cats/3.png")]

    def told(near):
        return describe_near_duplicates(near, near.table(images.table))
    chance = "Two images with a correlation of at least 0.50 count as near duplicates; about 0.01 pairs of unrelated images are expected to reach it by chance."
    assert told(found(ends)) == ["3 pairs of near duplicates in 3 groups; 1 pair has different labels.", chance]
    assert told(found(ends[:1])) == ["1 pair of near duplicates in 1 group; 0 pairs have different labels.", chance]
    assert told(found([])) == ["No two images are near duplicates of each other.", chance]
    assert told(found(ends, apart=1))[0].startswith("3 pairs of near duplicates, 2 of them in 2 groups; 1 pair")
    assert told(found(ends, apart=1))[2].startswith("1 pair is not kept together: ") and told(found(ends, apart=2))[2].startswith("2 pairs are not")
    assert "not kept on one side" in told(found(ends, mode="report"))[2]
    off = NearDuplicates(found([]).pairs, "off", "a reason")
    assert told(off) == ["Near duplicates were not searched: a reason."]
    assert [type(part) for part in report_near_duplicates(off, images)] == [Text] and off.searched is None
