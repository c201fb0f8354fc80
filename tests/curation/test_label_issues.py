"""Tests of inside/curation/label_issues.py: planted label errors, copies that disagree, and what is left out."""

import numpy as np
import pandas as pd
import pytest

from inside.curation import groups, label_issues
from inside.curation.describe import describe_label_issues, describe_suspects
from inside.curation.groups import NearDuplicates
from inside.curation.label_issues import (
    COLUMNS,
    LabelIssues,
    _folds,
    conflicting_labels,
    find_label_issues,
    groups_of,
    out_of_sample_scores,
    rank_labels,
)
from inside.curation.near_duplicates import PAIR_COLUMNS
from inside.curation.report import report_label_issues
from inside.data.sources import ImageSet
from shared.images import write_images

NO_PAIRS = pd.DataFrame(columns=["group", "path", "other_path", *PAIR_COLUMNS])
NOTHING_NEAR = NearDuplicates(NO_PAIRS, "group")


def clusters(n=300, classes=3, flipped=0.05, seed=0):
    """Features of images in clusters, their true labels, and labels of which a share is wrong."""
    rng = np.random.default_rng(seed)
    true = np.arange(n) % classes
    features = rng.normal(0, 1, (n, 40)) + rng.normal(0, 1.3, (classes, 40))[true]
    wrong = rng.choice(n, round(flipped * n), replace=False)
    labels = true.copy()
    labels[wrong] = (true[wrong] + rng.integers(1, classes, len(wrong))) % classes
    return features.astype(np.float32), labels, set(wrong)


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_label_errors_head_the_ranking(seed):
    features, labels, wrong = clusters(seed=seed)
    scores = out_of_sample_scores(features, labels, np.arange(len(labels)), seed=seed)
    assert np.allclose(scores.sum(1), 1)
    ranked = rank_labels(pd.Series(range(len(labels))), labels, scores, list("abc"))
    assert len(wrong & set(ranked["path"][:round(0.08 * len(labels))])) >= 0.9 * len(wrong)
    suspects = set(ranked.loc[ranked["suspected"], "path"])
    assert len(suspects & wrong) >= 0.6 * len(wrong) and len(suspects - wrong) <= 2


def test_the_seed_draws_the_folds():
    features, labels, _ = clusters(60)
    one, again, other = (out_of_sample_scores(features, labels, np.arange(60), seed=seed) for seed in (1, 1, 2))
    assert (one == again).all() and not np.allclose(one, other)


def test_the_quality_is_the_score_of_the_label_and_suspects_are_cleanlabs():
    from cleanlab.filter import find_label_issues as prune
    features, labels, _ = clusters(seed=5)
    scores = out_of_sample_scores(features, labels, np.arange(len(labels)))
    ranked = rank_labels(pd.Series(range(len(labels))), labels, scores, list("abc")).set_index("path")
    assert ranked["quality"].is_monotonic_increasing
    assert np.allclose(ranked["quality"].sort_index(), [row[label] for row, label in zip(scores, labels, strict=True)])
    assert ranked["suggested"].sort_index().tolist() == ["abc"[place] for place in scores.argmax(1)]
    wanted = prune(labels, scores, return_indices_ranked_by="self_confidence", n_jobs=1)
    assert ranked.index[ranked["suspected"]].tolist() == wanted.tolist()


def test_a_copy_does_not_learn_the_label_of_an_image():
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(60, 200)), 2, axis=0).astype(np.float32)  # pairs of copies, labels by chance
    labels, groups = np.repeat(rng.integers(0, 2, 60), 2), np.repeat(np.arange(60), 2)

    def quality(of):
        return out_of_sample_scores(features, labels, of)[np.arange(120), labels].mean()
    assert quality(groups) < 0.56 < quality(np.arange(120)) - 0.05
    for learn, apply in _folds(5, labels, groups, 0):
        assert not set(groups[learn]) & set(groups[apply])


def image_set(labels, sha=None, side=100, root="."):
    table = pd.DataFrame({"path": [f"{label}/{number}.png" for number, label in enumerate(labels)], "label": labels, "given": ""})
    table["width"] = table["height"] = side
    table["sha256"] = sha or [str(number) for number in range(len(labels))]
    shared = table["sha256"].duplicated(keep=False)
    table["group"] = pd.Series(pd.factorize(table["sha256"].where(shared))[0], dtype="Int64").mask(~shared)
    return ImageSet("set", root, table, "about")


def near(*ends):
    rows = [(group, one, other, 3, 0.9, 0.7, False) for group, one, other in ends]
    return NearDuplicates(pd.DataFrame(rows, columns=NO_PAIRS.columns).astype({"group": "Int64"}), "report")


def test_copies_are_one_group_and_their_other_labels_are_conflicts():
    images = image_set(["a", "b", "a", "b", "c"], sha=["s", "s", "t", "u", "v"])
    pairs = near((0, "a/0.png", "a/2.png"), (0, "b/1.png", "a/2.png"), (None, "b/3.png", "c/4.png"))
    groups = groups_of(images.table, pairs)
    assert groups[0] == groups[1] == groups[2] and groups.nunique() == 3
    assert conflicting_labels(images.table, pairs) == {
        "a/0.png": {"b"}, "b/1.png": {"a"}, "a/2.png": {"b"}, "b/3.png": {"c"}, "c/4.png": {"b"}}
    assert groups_of(images.table, NOTHING_NEAR).tolist() == [0, 0, 1, 2, 3]
    assert conflicting_labels(images.table, NOTHING_NEAR) == {"a/0.png": {"b"}, "b/1.png": {"a"}}


def test_a_pair_of_near_duplicates_stands_for_all_copies_of_both():
    """A search compares one image of each content only: the group and the label of the other hold for its copies, too."""
    images = image_set(["a", "a", "b", "b"], sha=["s", "s", "t", "t"])
    images.table["group"] = pd.array([0, 0, 1, 1], "Int64")
    pairs = near((0, "a/0.png", "b/2.png"))
    assert groups_of(images.table, pairs).nunique() == 1
    assert conflicting_labels(images.table, pairs) == {"a/0.png": {"b"}, "a/1.png": {"b"}, "b/2.png": {"a"}, "b/3.png": {"a"}}


@pytest.fixture
def planted(monkeypatch):
    """200 images of which ten have wrong labels, the first two are copies with different labels; a class of four more."""
    features, labels, wrong = clusters(200, 2)
    names = [*np.array(["cats", "dogs"])[labels], *["ants"] * 4]
    features[1] = features[0]
    names[0], names[1] = "cats", "dogs"
    known = {str(number): row for number, row in enumerate(features)} | {"0": features[0]}
    monkeypatch.setattr(label_issues, "pretrained_features",
                        lambda table, root, **_: np.stack([known[sha] for sha in table["sha256"]]))
    sha = [str(max(number, 1)) for number in range(204)]
    return image_set(names, sha), {f"{names[place]}/{place}.png" for place in wrong - {0, 1}}


def test_conflicts_head_the_table_and_small_classes_are_left_out(planted):
    images, wrong = planted
    found = find_label_issues(images, "auto", NOTHING_NEAR)
    assert list(found.suspects) == COLUMNS and found.left_out == ("ants",) and found.images == 200
    assert set(found.suspects["path"][:2]) == {"cats/0.png", "dogs/1.png"}
    assert found.suspects["reason"].tolist() == ["conflict"] * 2 + ["prediction"] * (len(found.suspects) - 2)
    assert dict(zip(found.suspects["path"][:2], found.suspects["suggested"], strict=False)) == {"cats/0.png": "dogs", "dogs/1.png": "cats"}
    assert len(wrong & set(found.suspects["path"])) >= 0.6 * len(wrong) and found.suspects["quality"][2:].is_monotonic_increasing
    split = images.table.assign(split=["train", "test"] * 102)
    assert list(found.table(split)) == ["path", "split", "label", "suggested", "quality", "reason"]
    told = found.results(split)
    assert told["conflicts"] == 2 and sum(told["by_part"].values()) == told["suspects"] == len(found.suspects) and told["left_out"] == ["ants"]
    sentences = describe_label_issues(found)
    assert f"{len(found.suspects)} of 200 labels" in sentences[0] and "2 because a copy of the image has another label" in sentences[0]
    assert sentences[-1] == "Left out, for fewer than 5 images that are no copies of each other: ants."


def test_an_image_of_a_class_that_is_left_out_can_be_a_conflict(planted):
    images, _ = planted
    found = find_label_issues(images, "auto", near((0, "ants/200.png", images.table["path"][7])))
    row = found.suspects.set_index("path").loc["ants/200.png"]
    assert found.images == 201  # those of two classes, and this one
    assert row["suggested"] == images.table["label"][7] and np.isnan(row["quality"]) and row["reason"] == "conflict"


@pytest.mark.parametrize("setting, changes, told", [
    (False, {}, "LABEL_ISSUES = False"), ("auto", {"side": 63}, "under 64 pixels"), ("auto", {"labels": ["a", "b"] * 30}, "more than 50 images"),
    (True, {"labels": ["a"] * 20 + ["b"] * 4}, "fewer than two classes have 5 images")])
def test_what_is_not_examined_says_why(monkeypatch, setting, changes, told):
    monkeypatch.setattr(groups, "MOST_IMAGES", 50)
    monkeypatch.setattr(label_issues, "pretrained_features", None)  # would fail if it were called
    found = find_label_issues(image_set(**({"labels": ["a", "b"] * 10} | changes)), setting, NOTHING_NEAR)
    assert told in found.why_off and describe_label_issues(found) == [f"Labels were not examined: {found.why_off}."]
    assert found.results(pd.DataFrame({"path": [], "split": []}))["suspects"] is None


def suspects(*rows):
    return LabelIssues(pd.DataFrame(rows, columns=COLUMNS), 100)


def test_the_report_shows_the_worst_with_both_labels(tmp_path):
    names = ["<b>x/0.png", "$y$/1.png", "$y$/2.png"]
    write_images(tmp_path, names)
    found = suspects((names[0], "<b>x", "$y$", np.nan, "conflict"), (names[1], "$y$", "<b>x", 0.00004, "prediction"),
                     (names[2], "$y$", "<b>x", 0.1234, "prediction"))
    told, figure, fold = report_label_issues(found, ImageSet("set", tmp_path, None, ""), at_most=2)
    labels = [ax.get_xlabel() for ax in figure.drawing.axes if ax.get_visible()]
    assert labels == ["‡ <b>x/0.png\n→ $y$? ", "$y$/1.png\n→ <b>x? 4e-05"]
    assert all(text.count("<b>x") == text.count("\u2068<b>x") for text in (figure.caption, figure.alt)) and len(fold.parts[0].table) == 3
    assert "2 times, the most frequent pair." in figure.caption and "The 2 most suspected of 3 labels" in figure.caption
    assert "3 of 100 labels (3.0%) are suspected" in told.markdown
    assert len(report_label_issues(suspects(), ImageSet("set", tmp_path, None, ""))) == 1


def test_sentences():
    assert describe_label_issues(suspects()) == ["Of 100 labels, none is suspected."]
    one = suspects(("a/1", "a", "b", 0.1, "prediction"))
    both = LabelIssues(pd.concat([one.suspects] * 2), 100)
    assert describe_label_issues(both)[0] == "2 of 100 labels (2.0%) are suspected, because the regression predicts another class."
    assert describe_label_issues(one)[0] == "1 of 100 labels is suspected, because the regression predicts another class."
    assert describe_suspects(one) == "b is suggested for a 1 time, the most frequent pair."
    two = suspects(("a/1", "a", "b", 0.1, "prediction"), ("b/1", "b", "a", 0.1, "prediction"))
    assert describe_suspects(two) == "b is suggested for a 1 time, as often as 1 other pair."
