"""Tests of inside/data/split.py."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inside.cli.profiles import read_profile
from inside.data.sources import open_dataset
from inside.data.split import Split, class_counts, split_images, split_overlaps, split_table
from inside.data.table import decode_images
from inside.names import SPLITS
from inside.text import natural_sort


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
    return class_counts(table).set_index("class")[list(SPLITS)].iloc[:-1]


def test_the_course_split_is_exact():
    """The Intel scenes' class sizes: 12,034 / 2,000 / 3,000 from the profile's fractions and from counts."""
    sizes = {"buildings": 2628, "forest": 2745, "glacier": 2957, "mountain": 3037, "sea": 2784, "street": 2883}
    table = make_table(sizes)
    for wanted in ([0.706469, 0.117412, 0.176119], [12034, 2000, 3000]):
        split = split_table(table, wanted, seed=0)
        assert split["split"].value_counts().to_dict() == {"train": 12034, "test": 3000, "val": 2000}
        shares = class_shares(split)
        for name, size in sizes.items():
            assert abs(shares.loc[name, "test"] - 3000 * size / 17034) < 1
            assert abs(shares.loc[name, "val"] - 2000 * size / 17034) < 1


def test_split_is_seeded():
    table = make_table({"a": 50, "b": 30})
    first, again, other = (split_table(table, [0.6, 0.2, 0.2], seed=seed)["split"] for seed in (1, 1, 2))
    assert first.equals(again) and not first.equals(other)


@pytest.mark.parametrize("seed", range(8))
def test_duplicates_stay_on_one_side_and_sizes_hold(seed):
    pairs = [("a/0", "a/1"), ("a/0", "a/2"), ("a/3", "b/3"), ("b/4", "b/5"), ("b/6", "a/6"), ("a/7", "a/8")]
    table = split_table(make_table({"a": 40, "b": 40}, pairs), [40, 20, 20], seed=seed)
    assert table["split"].value_counts().to_dict() == {"train": 40, "val": 20, "test": 20}
    assert (table.groupby("sha256")["split"].nunique() == 1).all()
    assert split_overlaps(table)[["shared paths", "shared content"]].to_numpy().sum() == 0


def split_quotas(table, sizes):
    """The images that each class has in each part where the same classes have no duplicates; ValueError as there."""
    return class_shares(split_table(make_table(table["label"].value_counts().sort_index()), sizes, seed=0))


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
        split = split_table(table, sizes, seed=seed)
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


@settings(max_examples=20, deadline=None, derandomize=True)
@given(grouped_tables(), SIZES, st.integers(0, 99))
def test_any_duplicates_split_whole_complete_and_in_every_part(table, sizes, seed):
    try:
        split = split_table(table, sizes, seed=seed)
    except ValueError as error:
        assert any(f"The class {label!r}" in str(error) for label in set(table["label"])) or "leaves a part empty" in str(error)
        return
    assert (split.groupby("sha256")["split"].nunique() == 1).all()
    assert set(class_counts(split)["class"][:-1]) == set(table["label"]) and class_shares(split).min(axis=None) > 0
    assert sum(sizes) < 0.99 or (split["split"] != "").all()
    other_order = table.sample(frac=1, random_state=seed)
    assert split_table(other_order, sizes, seed=seed).sort_index()["split"].equals(split["split"])
    quota = split_quotas(table, sizes)
    pictures = pd.crosstab(table["sha256"], table["label"])[quota.index].to_numpy()[:, :, None]  # (pictures, classes, 1)
    wanted, parts, unused = quota.to_numpy(), np.eye(3), np.zeros(3)
    place = split.groupby("sha256")["split"].first().map(dict(zip((*SPLITS, ""), (*parts, unused), strict=True)))
    found = (pictures * np.stack(place)[:, None]).sum(0)
    assert (found == class_shares(split).loc[quota.index]).all(axis=None)
    for picture, part in zip(pictures, place, strict=True):  # no picture can be moved so that the shares come nearer
        for other in [*parts, unused][:3 if sum(sizes) > 0.99 else 4]:
            moved = found + picture * (other - part)
            assert moved.min() == 0 or np.abs(moved - wanted).sum() >= np.abs(found - wanted).sum()


@settings(max_examples=30)
@given(st.lists(st.integers(2, 60), min_size=2, max_size=5), st.tuples(*[st.integers(2, 50)] * 3), st.integers(0, 99))
def test_any_counts_of_different_images_are_met_exactly(class_sizes, sizes, seed):
    """Whole images, every class by its share to within one image, the same whatever the order of rows; or one sentence that names the class or SPLIT."""
    table = make_table({f"class {number}": size for number, size in enumerate(class_sizes)})
    try:
        split = split_table(table, list(sizes), seed=seed)
    except ValueError as error:
        assert re.search(r"^SPLIT = .* asks for [\d,]+ images|^The class 'class \d' with its \d+ images would have none in (train|val|test)", str(error))
        return
    assert [(split["split"] == part).sum() for part in SPLITS] == list(sizes) and (split["split"] == "").sum() == len(table) - sum(sizes)
    found, exact = class_shares(split), np.outer(table["label"].value_counts()[class_shares(split).index], sizes) / len(table)
    assert found.min(axis=None) > 0 and np.abs(found[["val", "test"]] - exact[:, 1:]).max(axis=None) < 2
    assert split_table(table.sample(frac=1, random_state=seed), list(sizes), seed=seed).sort_index().equals(split)


@settings(max_examples=20, deadline=None, derandomize=True)
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
            split_table(table, sizes, seed=seed)
        return
    best = np.abs(counts[legal] - quota.to_numpy()).sum(axis=(1, 2)).min()
    assert np.abs(class_shares(split_table(table, sizes, seed=seed)) - quota).sum(axis=None) == best


@pytest.mark.parametrize("singles, groups, message", [
    ({"a": 40}, [["b"] * 40], "The class 'b' has too few distinct images \\(1\\)"),
    ({"a": 40, "b": 1}, [["b"] * 40], "The class 'b' has too few distinct images \\(2\\)"),
    ({}, [["a", "b", "c"], ["a", "b", "d"], ["a", "c", "d"], ["b", "c", "d"]] * 1, "The class 'a' shares so many images with b, c, d")])
def test_too_few_different_pictures(singles, groups, message):
    with pytest.raises(ValueError, match=message) as error:
        split_table(grouped_table(singles, groups), [0.4, 0.3, 0.3], seed=0)
    assert "add images" in str(error.value)


def test_another_seed_is_another_split_also_of_duplicates():
    table = grouped_table({"b": 20}, [["a"] * 3] * 13)
    drawn = {seed: split_table(table, [0.6, 0.2, 0.2], seed=seed)["split"] for seed in range(4)}
    of_a = {tuple(split[table["label"] == "a"]) for split in drawn.values()}
    assert len(of_a) == 4 and drawn[1].equals(split_table(table, [0.6, 0.2, 0.2], seed=1)["split"])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(grouped_tables(), st.integers(0, 99), st.booleans())
def test_near_duplicates_stay_on_one_side(table, seed, given_test):
    """Groups that hold several different pictures: drawn whole, as one; given test images stay, and the rest of their groups is not used."""
    rng = np.random.default_rng(seed)
    near = table["sha256"].map(dict(zip(table["sha256"].unique(), rng.integers(0, table["sha256"].nunique(), table["sha256"].nunique()), strict=True)))
    shared = near.duplicated(keep=False)
    table = table.assign(group=near.astype("Int64").mask(~shared), given=np.where(given_test & (rng.random(len(table)) < 0.2), "test", ""))
    try:
        split = split_table(table, [0.5, 0.25, 0.25], seed=seed)
    except ValueError as error:
        assert re.search("The class '(a|b|all|10)'|leaves (a part empty|no training image)|asks for [0-9]+ training", str(error))
        return
    assert split["sha256"].equals(table["sha256"]) and split["group"].equals(table["group"])
    tested = (split["given"] == "test") & given_test
    assert (split.loc[tested, "split"] == "test").all()
    used = split[split["split"] != ""]
    assert (used.groupby(near[used.index])["split"].nunique() == 1).all() and split_overlaps(split)["shared content"].sum() == 0
    if tested.any():
        assert near[split["split"] == ""].isin(near[tested]).all()
    else:
        assert (split["split"] != "").all()
    ends = [(one, other) for _, rows in split[shared].groupby("group") for one, other in itertools.combinations(rows["path"], 2)]
    assert split_overlaps(split, pd.DataFrame(ends, columns=["path", "other_path"]))["near duplicates"].sum() == 0


def test_the_proof_counts_near_duplicates_on_two_sides():
    table = pd.DataFrame({"path": list("abcd"), "sha256": list("abcd"), "split": ["train", "val", "test", ""]})
    near = pd.DataFrame([("a", "b"), ("c", "a"), ("a", "c"), ("d", "a"), ("b", "b")], columns=["path", "other_path"])
    assert split_overlaps(table, near)["near duplicates"].tolist() == [1, 2, 0] and "near duplicates" not in split_overlaps(table)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(grouped_tables(), st.integers(0, 9), st.sampled_from([("test",), ("val",), ("val", "test")]))
def test_given_parts_with_any_duplicates(table, seed, given_parts):
    rng = np.random.default_rng(seed)
    table = table.assign(given=rng.choice(["train", *given_parts], size=len(table)))
    held = "test" if (table["given"] == "test").any() else "val"
    try:
        split = split_table(table, [0.7, 0.12, 0.18], seed=seed)
    except ValueError as error:
        assert re.search("The class '(a|b|all|10)'|leaves (a part empty|no training image)|asks for [0-9]+ training", str(error))
        return
    used = split[split["split"] != ""]
    assert class_shares(split).min(axis=None) > 0 and split_overlaps(split).iloc[:, 1:].to_numpy().sum() == 0
    if (table["given"] != "train").any():
        assert (split.loc[table["given"] == held, "split"] == "test").all()
        unused = split[split["split"] == ""]
        assert unused["sha256"].isin(used.loc[used["split"] != "train", "sha256"]).all()


@pytest.mark.parametrize("sizes, parts", [
    ([40, 20, 20], (40, 20)), ([0.1, 0.05, 0.05], (42, 21)), ([0.5, 0.25, 0.25], (267, 133)), ([0.7, 0.12, 0.18], (341, 59)), ([350, 50, 1], (350, 50))])
def test_a_split_asks_for_as_much_where_the_test_images_are_given(sizes, parts):
    table = grouped_table({"a": 220, "b": 220}, [])
    table["given"] = ["test" if int(path.split("/")[1]) < 20 else "train" for path in table["path"]]
    counts = split_table(table, sizes, seed=0)["split"].value_counts()
    assert (counts["train"], counts["val"], counts["test"], counts.get("", 0)) == (*parts, 40, 400 - sum(parts))
    with pytest.raises(ValueError, match="asks for 380 training and 21 validation images: there are 400 images apart from the given"):
        split_table(table, [380, 21, 1], seed=0)
    with pytest.raises(ValueError, match="leaves no training image besides 8 for validation: there are 400 images"):
        split_table(table, [0.0001, 0.01, 0.5], seed=0)


def test_what_copies_of_given_test_images_take_from_a_count_is_not_trained_on():
    """That a copy is one is known only once the images are decoded: the counts have been checked by then."""
    table = grouped_table({"a": 60}, [["b", "b"], *[["b"]] * 58])
    table["given"] = ["test" if place < 10 or 60 <= place < 61 or place >= 110 else "train" for place in range(len(table))]
    listed, counts = (table["given"] == "train").sum(), split_table(table, [80, int((table["given"] == "train").sum()) - 80, 9], seed=0)["split"].value_counts()
    assert (counts["train"], counts["val"], counts[""]) == (79, listed - 80, 1)


@pytest.mark.parametrize("sizes, train", [([0.7, 0.1, 0.2], 87), ([0.7, 0.12, 0.18], 85), ([0.64, 0.16, 0.2], 80)])
def test_fractions_that_sum_to_one_divide_what_is_not_given(sizes, train):
    table = grouped_table({"a": 60, "b": 60}, [])
    table["given"] = ["test" if int(path.split("/")[1]) < 10 else "train" for path in table["path"]]
    counts = split_table(table, sizes, seed=0)["split"].value_counts()
    assert (counts["train"], counts["val"], counts["test"]) == (train, 100 - train, 20)


def test_a_class_without_a_given_test_image_is_named():
    table = grouped_table({"a": 20, "b": 20}, [])
    table["given"] = ["test" if path in ("a/0", "a/1") else "train" for path in table["path"]]
    with pytest.raises(ValueError, match="The class 'b' has no image in test: add images"):
        split_table(table, [0.7, 0.12, 0.18], seed=0)
    table = grouped_table({"a": 20}, [["b", "b"]] * 3)
    table["given"] = ["test" if path in ("a/0", "b/0-0", "b/1-0", "b/2-0") else "train" for path in table["path"]]
    with pytest.raises(ValueError, match="'b' has no image in train, and 3 of its images are unused because copies of them are in a given"):
        split_table(table, [0.7, 0.12, 0.18], seed=0)


def test_the_proof_sees_a_leak():
    table = split_table(make_table({"a": 30, "b": 30}), [0.6, 0.2, 0.2], seed=0)
    train = table.index[table["split"] == "train"][0]
    test = table.index[table["split"] == "test"][0]
    table.loc[test, "sha256"] = table.loc[train, "sha256"]
    overlaps = split_overlaps(table).set_index("parts")
    assert overlaps.loc["train and test", "shared content"] == 1 and overlaps["shared paths"].sum() == 0
    val = table.index[table["split"] == "val"][0]
    table.loc[val, "path"] = table.loc[train, "path"]
    overlaps = split_overlaps(table).set_index("parts")
    assert overlaps["shared paths"].to_dict() == {"train and val": 1, "train and test": 0, "val and test": 0}


def test_given_test_images_stay_and_their_copies_are_not_used():
    table = make_table({"a": 30, "b": 30}, [("a/0", "a/29"), ("b/0", "b/1")])
    table.loc[table["path"].isin(["a/29", "b/29", "a/28", "b/28"]), "given"] = "test"
    table.loc[table["given"] == "", "given"] = "train"
    split = split_table(table, [0.8, 0.1, 0.1], seed=0).set_index("path")["split"]
    assert (split[["a/29", "b/29", "a/28", "b/28"]] == "test").all() and (split == "test").sum() == 4
    assert split["a/0"] == "" and split["b/0"] == split["b/1"] != ""
    table["given"] = table["given"].replace({"test": "val"})
    again = split_table(table, [0.8, 0.1, 0.1], seed=0).set_index("path")["split"]
    assert (again[["a/29", "b/29"]] == "test").all()


def test_three_given_parts_are_kept():
    table = make_table({"a": 10, "b": 10}, [("a/0", "a/1")])
    table["given"] = ["train"] * 6 + ["val"] * 2 + ["test"] * 2 + ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    split = split_table(table, [0.8, 0.1, 0.1], seed=0)
    assert split["split"].tolist() == table["given"].tolist()


@pytest.mark.parametrize("sizes, split, message", [
    ({"a": 30, "b": 30}, [50, 20, 10], "asks for 80 images, but there are only 60"),
    ({"a": 30, "b": 30}, [0.9, 0.01, 0.01], "class 'b' with its 30 images would have none in val"),
    ({"a": 60, "b": 2}, [0.6, 0.2, 0.2], "class 'b' with its 2 images would have none in (val|test)"),
    ({"a": 30, "b": 30}, [0.7, 0.5, 0.2], "SPLIT"),
    ({"a": 30, "b": 30}, [0.7, 0.3], "SPLIT"),
    ({"a": 30, "b": 30}, [0.7, -0.1, 0.2], "SPLIT"),
])
def test_splits_that_cannot_be(sizes, split, message):
    with pytest.raises(ValueError, match=message):
        split_table(make_table(sizes), split, seed=0)


def test_sizes_below_the_whole_leave_images_unused():
    split = split_table(make_table({"a": 100, "b": 50}), [30, 15, 15], seed=0)
    assert split["split"].value_counts().to_dict() == {"": 90, "train": 30, "val": 15, "test": 15}
    assert split[split["split"] != ""]["label"].value_counts().to_dict() == {"a": 40, "b": 20}


def test_split_file_gives_back_the_table(tmp_path):
    table = split_table(make_table({"NA": 20, "7": 20}, [("7/0", "7/1")]), [0.5, 0.2, 0.2], seed=0)
    read = Split(table, tmp_path, ["7", "NA"]).save(tmp_path / "split.csv").table
    pd.testing.assert_frame_equal(read, table[read.columns].astype({"width": "int64", "height": "int64"}), check_dtype=False)
    assert set(read["label"]) == {"NA", "7"} and (read["split"] == "").sum() == 4


def test_a_split_has_the_parts_that_have_images(tmp_path):
    table = pd.DataFrame({"path": ["a/1.png", "b/1.png", "a/2.png", "b/2.png"], "label": ["a", "b", "a", "b"],
                          "split": ["val", "train", "", "train"], "sha256": ["w", "x", "y", "z"]})
    split = Split(table, tmp_path, ["a", "b"])
    assert {part: rows["path"].tolist() for part, rows in split.parts.items()} == {"train": ["b/1.png", "b/2.png"], "val": ["a/1.png"]}
    assert list(split.parts) == ["train", "val"] and all(list(rows.index) == list(range(len(rows))) for rows in split.parts.values())
    assert split.fingerprint == "6fc90c2b39e7227c"  # that of runs that were trained before
    assert Split(table.assign(sha256=["w", "x", "y", "other"]), tmp_path, ["a", "b"]).fingerprint != split.fingerprint


@pytest.mark.parametrize("labels", [["a", "b"], ["all", "b"], ["all", "(all)", "((all))"], ["mean", "nan"]])
def test_the_sum_of_the_counts_is_the_last_row_whatever_the_classes_are_called(labels):
    split = split_table(make_table(dict.fromkeys(labels, 20) | {labels[0]: 30}), [0.6, 0.2, 0.2], seed=0)
    counts = class_counts(split)
    assert list(counts["class"][:-1]) == natural_sort(labels) and counts["class"].is_unique
    assert counts.set_index("class").loc[labels[0], ["train", "val", "test"]].tolist() == [18, 6, 6]
    sums = counts.iloc[-1]
    assert sums[["train", "val", "test"]].tolist() == [split["split"].value_counts()[part] for part in SPLITS]
    assert np.allclose(counts.iloc[:-1, 4:].sum(), 100) and np.allclose(sums[4:].astype(float), 100)


def test_the_profile_for_train_and_val_folders_holds_out_a_fifth_of_each_class(make_folder):
    profile = read_profile("inaturalist")
    root = make_folder({"train/birds": 50, "train/fungi": 30, "val/birds": 10, "val/fungi": 6})
    images, _ = decode_images(open_dataset(str(root)), cache=root.parent / "cache")
    counts = split_images(images, profile["SPLIT"], seed=0).table.groupby(["label", "split"]).size().to_dict()
    assert counts == {("birds", "train"): 40, ("birds", "val"): 10, ("birds", "test"): 10,
                      ("fungi", "train"): 24, ("fungi", "val"): 6, ("fungi", "test"): 6}
    assert profile["SAMPLE_GRID"] == [10, 3]
