"""Tests of inside/curation/groups.py."""

import itertools

import numpy as np
import pandas as pd
import pytest

from inside.curation import groups
from inside.curation.groups import DIAMETER, group_near_duplicates, group_numbers, limited_groups
from inside.curation.near_duplicates import PAIR_COLUMNS, Pairs, hash_distances
from inside.data.sources import ImageSet
from inside.data.split import split_images, split_overlaps


def chain(links, step=12):
    """Hashes of images of which each differs from the one before in `step` other bits, and the pairs of neighbours."""
    rng = np.random.default_rng(1)
    hashes = [rng.choice([-1.0, 1.0], 63).astype(np.float32)]
    for number in range(links):
        turn = np.ones(63, np.float32)
        turn[np.arange(number * step, (number + 1) * step) % 63] = -1
        hashes.append(hashes[-1] * turn)
    rows = np.arange(links)
    return np.stack(hashes), pd.DataFrame({"first": rows, "second": rows + 1})


def test_a_chain_does_not_grow_without_end():
    hashes, pairs = chain(5)
    member = limited_groups(pairs, hashes)
    assert hash_distances(hashes, np.array([0]), np.array([4])).min() > DIAMETER and len(set(member)) > 1
    for number in set(member):
        for one, other in itertools.combinations(np.flatnonzero(member == number), 2):
            assert hash_distances(hashes, np.array([one]), np.array([other])).min() <= DIAMETER
    short = limited_groups(pairs.head(2), hashes)  # its ends are within the limit
    assert len(set(short[:3])) == 1 and len(set(short)) == 4
    assert len(set(limited_groups(pairs.head(0), hashes))) == 6


def test_two_groups_that_are_cut_stay_two():
    hashes, pairs = chain(5)
    both = pd.concat([pairs, pairs + 6], ignore_index=True)
    member = limited_groups(both, np.concatenate([hashes, hashes]))
    assert not set(member[:6]) & set(member[6:]) and (pd.factorize(member[:6])[0] == pd.factorize(member[6:])[0]).all()


def image_set(tmp_path, n=40, side=100):
    """Images of which the first two are identical, in two classes."""
    table = pd.DataFrame({"path": [f"{'ab'[number % 2]}/{number:02d}.png" for number in range(n)]})
    table["label"], table["given"] = table["path"].str[0], ""
    table["width"] = table["height"] = side
    table["sha256"] = [f"{max(number, 1):02d}" for number in range(n)]
    table["group"] = pd.Series([0, 0] + [None] * (n - 2), dtype="Int64")
    return ImageSet("set", tmp_path, table, "about")


@pytest.fixture
def searched(monkeypatch):
    """A search that finds: images 1 and 2, and 4, 5 and 6 in a chain that is too long."""
    def find(table, root, **_):
        place = dict(zip(table["sha256"], range(len(table)), strict=True))
        hashes = np.random.default_rng(0).choice([-1.0, 1.0], (len(table), 63)).astype(np.float32)
        hashes[place["04"]:place["06"] + 1] = chain(2, step=18)[0]
        found = pd.DataFrame([("01", "02"), ("04", "05"), ("05", "06")], columns=["first", "second"])
        found = found.apply(lambda column: column.map(place)).assign(**dict.fromkeys(PAIR_COLUMNS, 0.9))
        return Pairs(found, hashes, 0.5, 0.01)
    monkeypatch.setattr(groups, "find_pairs", find)


def test_groups_join_identical_images_and_the_split_keeps_them_together(searched, tmp_path):
    images = image_set(tmp_path)
    grouped, near = group_near_duplicates(images, "group")
    group = grouped.table.set_index("path")["group"]
    assert group["a/00.png"] == group["b/01.png"] == group["a/02.png"] == 0 and group.notna().sum() == 5
    assert near.mode == "group" and near.pairs["group"].isna().sum() == 1 and near.pairs["group"].nunique() == 2
    assert near.pairs.loc[0, ["path", "other_path"]].tolist() == ["a/00.png", "a/02.png"]
    for seed in range(5):
        split = split_images(grouped, [0.5, 0.25, 0.25], seed=seed)
        part = split.table.set_index("path")["split"]
        assert part["a/00.png"] == part["b/01.png"] == part["a/02.png"]
        assert split_overlaps(split.table, near.pairs.dropna(subset=["group"]))["near duplicates"].sum() == 0
    told = near.table(split.table)
    assert told["conflicting"].tolist() == [False, True, True] and {"label", "other_label", "split", "other_split"} <= set(told)
    assert near.results(split.table) == {"mode": "group", "why_off": None, "pairs": 3, "conflicting_pairs": 2, "groups": 2, "limit": 0.5, "by_chance": 0.01}


def test_a_report_leaves_the_groups_as_they_are(searched, tmp_path):
    images = image_set(tmp_path)
    same, near = group_near_duplicates(images, "report")
    assert same is images and near.mode == "report" and len(near.pairs) == 3 and near.pairs["group"].nunique() == 2


@pytest.mark.parametrize("setting, change, reason", [
    ("off", {}, 'NEAR_DUPLICATES = "off"'), ("group", {"side": 63}, "under 64 pixels"), ("group", {"n": 50}, "more than 40 images")])
def test_off_where_it_is_off_and_where_it_is_too_much(setting, change, reason, searched, tmp_path, monkeypatch):
    monkeypatch.setattr(groups, "MOST_IMAGES", 40)
    images = image_set(tmp_path, **change)
    same, near = group_near_duplicates(images, setting)
    assert same is images and near.mode == "off" and reason in near.why_off and near.pairs.empty
    results = near.results(images.table)
    assert reason in results["why_off"] and results["pairs"] is results["by_chance"] is None
    assert setting == "off" or all(len(group_near_duplicates(images, asked)[1].pairs) == 3 for asked in ("always", "report"))


def test_what_cannot_be_searched_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(groups, "find_pairs", lambda table, *_, **__: Pairs(pd.DataFrame(), np.ones((len(table), 63)), why_not="a reason"))
    same, near = group_near_duplicates(images := image_set(tmp_path), "always")
    assert same is images and (near.mode, near.why_off) == ("off", "a reason")


def test_numbers_of_identical_groups_stay(tmp_path):
    table = image_set(tmp_path, n=8).table
    table.loc[6, "sha256"] = "07"
    table["group"] = pd.Series([0, 0, None, None, None, None, 1, 1], dtype="Int64")
    member = dict(zip(table["sha256"], [9, 9, 3, 3, 4, 9, 5, 5], strict=True))
    assert group_numbers(table, member).tolist()[:4] == [0, 0, 2, 2] and group_numbers(table, member).tolist()[5:] == [0, 1, 1]
    assert group_numbers(table, member).isna().tolist() == [False] * 4 + [True] + [False] * 3
    assert group_numbers(table, member | {"07": 9}).tolist()[5:] == [0, 0, 0]
    none = table.assign(sha256=table["path"], group=pd.Series([None] * 8, dtype="Int64"))
    assert group_numbers(none, dict.fromkeys(table["path"][:2], 0) | {path: n + 1 for n, path in enumerate(table["path"][2:])}).tolist()[:2] == [0, 0]
