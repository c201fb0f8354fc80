"""Sentences and tables at their extremes, generated: what is made of any data set, split and prediction agrees with its numbers."""

import json
import math
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from inside.data.grids import captions, draw_samples
from inside.data.split import Split, class_counts, describe_split, split_overlaps, split_table
from inside.data.table import describe_duplicates, duplicate_table, image_marks, size_table
from inside.evaluation.metrics import class_metrics, format_metrics, metrics_summary
from inside.evaluation.plots import plot_class_metrics, plot_confusion
from inside.evaluation.predictions import prediction_table, top_and_bottom
from inside.files import write_json
from inside.names import SPLITS
from inside.text import literal, natural_sort

FEW = settings(deadline=None, derandomize=True, max_examples=30)
NAMES = ["all", "mean", "nan", "NA", "None", "True", "a*b*", "_x_", "**bold**", "$x$ $", "<b>", "10", "2", "naïve café", "train", "(all)", "prob", "a b", "label",
         "[link](x)", "`code`", "1.0", "#", "a, b", "“quoted”"]


def class_names(most=6, least=1):
    """Class names as folders may have them: numbers, Markdown, HTML, formulas, and words that tables use themselves."""
    return st.lists(st.sampled_from(NAMES), min_size=least, max_size=most, unique=True).map(natural_sort)


@st.composite
def image_tables(draw):
    """Image tables with any class sizes and duplicates, within classes and across them; without files."""
    classes = draw(class_names())
    labels = [label for label in classes for _ in range(draw(st.sampled_from([40, 15, 5, 1])))]
    stored = [(label, f"single {number}") for number, label in enumerate(labels)]
    often = st.tuples(st.sampled_from(classes), st.sampled_from([30, 3, 2])).map(lambda pair: [pair[0]] * pair[1])
    groups = draw(st.lists(often | st.lists(st.sampled_from(classes), min_size=2, max_size=6), max_size=8))
    stored += [(label, f"group {number}") for number, group in enumerate(groups) for label in group]
    table = pd.DataFrame(stored, columns=["label", "sha256"])
    table["path"] = [f"{label}/{number:03d}.png" for number, label in enumerate(table["label"])]
    shared = table["sha256"].duplicated(keep=False)
    table["group"] = pd.Series(pd.factorize(table["sha256"].where(shared))[0], dtype="Int64").mask(~shared)
    sides = draw(st.sampled_from([[10], [10, 2000]]))
    return table.assign(given="", width=[sides[number % len(sides)] for number in range(len(table))], height=sides[0])


@st.composite
def prediction_tables(draw, classes=None):
    """(predictions, classes): one image a class or many, some classes without, all right, all wrong, all scores equal."""
    classes = draw(class_names(least=2)) if classes is None else classes
    counts = draw(st.lists(st.sampled_from([0, 1, 1, 2, 9]), min_size=len(classes), max_size=len(classes)).filter(any))
    label = np.repeat(np.arange(len(classes)), counts)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    scores = rng.dirichlet(np.ones(len(classes)), len(label))
    kind = draw(st.sampled_from(["any", "right", "wrong", "equal", "certain"]))
    if kind in ("right", "wrong", "certain"):
        place = label if kind == "right" else (label + 1) % len(classes) if kind == "wrong" else rng.integers(0, len(classes), len(label))
        scores = np.eye(len(classes))[place] if kind == "certain" else 0.4 * scores + 0.6 * np.eye(len(classes))[place]
    scores = np.full_like(scores, 1 / len(classes)) if kind == "equal" else scores
    table = pd.DataFrame({"path": [f"{classes[one]}/{number}.png" for number, one in enumerate(label)], "label": [classes[one] for one in label]})
    losses = -np.log(np.maximum(scores[np.arange(len(label)), label], 1e-300))
    return prediction_table(table, scores, losses, classes), classes


MANY = [f"class {number}" for number in range(150)]


def numbers_in(text):
    return [int(word.replace(",", "")) for word in re.findall(r"\d[\d,]*\b", text)]


@FEW
@given(image_tables())
def test_tables_and_sentences_on_images(table):
    sizes = size_table(table)
    assert sizes["class"].tolist() == natural_sort(table["label"].unique()) and sizes["images"].sum() == len(table)
    for row in sizes.to_dict("records"):
        own = table[table["label"] == row["class"]]
        low, high = own["width"].min(), own["width"].max()
        assert row["width"] == (str(low) if low == high else f"{low}–{high}") and row["images"] == len(own)
    found = duplicate_table(table)
    told, groups = describe_duplicates(found), table.groupby("sha256").filter(lambda rows: len(rows) > 1).groupby("sha256")["label"]
    assert set(found["path"]) == set(table.loc[table["sha256"].duplicated(keep=False), "path"])
    if not len(found):
        assert told.startswith("No two images have the same decoded pixels.")
    else:
        assert numbers_in(told) == [groups.ngroups, int((groups.nunique() > 1).sum())] and ("1 groups" not in told)
    marks = image_marks(table)
    assert marks == {path: "‡ " if labels > 1 else "† " for path, labels in zip(found["path"], found.groupby("group")["label"].transform("nunique"), strict=True)}
    sample = draw_samples(table, seed=0)
    assert sample["label"].value_counts().to_dict() == table["label"].value_counts().clip(upper=2).to_dict()


def class_shares(split):
    return class_counts(split).set_index("class").iloc[:-1][list(SPLITS)]


@settings(FEW, max_examples=60)
@given(image_tables(), st.sampled_from([[0.7, 0.12, 0.18], [0.5, 0.25, 0.25], [0.4, 0.3, 0.2], [3, 2, 2]]))
def test_sentences_on_a_split_are_its_numbers(table, sizes):
    try:
        split = split_table(table, sizes, seed=1)
    except ValueError as error:
        assert "\n" not in str(error) and str(error)[0].isupper() and str(error).endswith(".")
        return
    alone = table.assign(sha256=table["path"], group=pd.NA)  # the same classes without duplicates
    quota, shares = class_shares(split_table(alone, sizes, seed=1)), class_shares(split)
    told = describe_split(split, sizes)
    missed, largest = shares.index[(shares != quota).any(axis=1)], table.groupby("sha256")["label"].transform("size")
    lines = [line for line in told if " where its shares are " in line]
    assert len(lines) == len(missed) <= 10
    for label, line in zip(missed, lines, strict=True):
        name, numbers = line.split("” has ")
        assert name == f"“{literal(label)}"
        assert numbers_in(numbers) == [*shares.loc[label], *quota.loc[label], largest[table["label"] == label].max()]
    totals = [line for line in told if line.startswith("So ")]
    assert [numbers_in(line) for line in totals] == ([[*shares.sum(), *quota.sum()]] if (shares.sum() != quota.sum()).any() else [])
    fitting = shares.index.difference(missed)
    rest = [line for line in told if line.startswith("Every ")]
    assert len(rest) == bool(len(fitting)) and all(line.startswith("Every other class") == bool(len(missed)) for line in rest)
    for line in rest:
        exact = np.outer(table["label"].value_counts()[fitting], quota.sum() / len(table))
        off = np.abs(shares.loc[fitting] - exact).max(axis=None)
        claimed = 0 if line.endswith(", exactly.") else float(line.split("at most ")[1].removesuffix(" off."))
        assert off - 1e-6 <= claimed <= off + 0.1 and (claimed > 0) == (off > 1e-6)
    unused = (split["split"] == "").sum()
    left = [line for line in told if "not used" in line]
    assert not (quota.sum().sum() == len(table) and (left or unused))
    assert not left or numbers_in(left[0]) == [quota.sum().sum(), len(table), unused]


@FEW
@given(image_tables(), st.integers(0, 9), st.sampled_from(["test", "val", "both"]))
def test_sentences_on_given_parts(table, seed, kind):
    rng = np.random.default_rng(seed)
    table = table.assign(given=rng.choice(["train"] * 2 + (["val", "test"] if kind == "both" else [kind]), len(table)))
    try:
        split = split_table(table, [0.5, 0.3, 0.2], seed=seed)
    except ValueError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
        return
    told, unused = describe_split(split, [0.5, 0.3, 0.2]), int((split["split"] == "").sum())
    left = [numbers_in(line)[0] for line in told if "not used: copies" in line]
    assert left == [unused] * (unused > 0)
    tested = table["sha256"].isin(table.loc[table["given"] == "test", "sha256"])  # a given validation image counts where it is no copy
    if tested.any() and ((table["given"] == "val") & ~tested).any():
        assert told[0] == "The parts are those that the data set gives: SPLIT is not used." and len(told) == 1 + len(left)
    else:
        assert numbers_in(told[0]) == [(split["split"] != "").sum() - (split["split"] == "test").sum()]
        assert not any("test images where" in line or "and test" in line for line in told[1:])  # they are not drawn


def test_many_classes_that_miss_their_shares_are_counted_not_listed():
    rows = [(f"c{one}", f"{one} {group}") for one in range(15) for group in range(13) for _ in range(3)]
    table = pd.DataFrame(rows, columns=["label", "sha256"]).assign(given="")
    table["path"] = [f"{label}/{number}.png" for number, label in enumerate(table["label"])]
    split = split_table(table, [0.7, 0.12, 0.18], seed=0)
    told = describe_split(split, [0.7, 0.12, 0.18])
    assert len([line for line in told if "where its shares are" in line]) == 10
    assert any(re.fullmatch(r"Duplicates keep 5 more of the classes from their shares, by at most 2 images in a part\.", line) for line in told)
    assert not any(line.startswith("Every") for line in told)


@FEW
@given(image_tables())
def test_the_split_file_and_its_tables(table):
    table = table.assign(split=np.resize([*SPLITS, ""], len(table)))
    counts = class_counts(table)
    used = table[table["split"] != ""]
    assert counts["class"].is_unique and counts["class"].tolist()[:-1] == natural_sort(used["label"].unique())
    for part in SPLITS:
        assert counts[part].iloc[-1] == counts[part].iloc[:-1].sum() == (table["split"] == part).sum()
        assert math.isclose(np.nansum(counts[f"{part} %"].iloc[:-1]), 100 * bool(counts[part].iloc[-1]), abs_tol=1e-6)
    overlaps = split_overlaps(table)
    parts = {part: set(table.loc[table["split"] == part, "sha256"]) for part in SPLITS}
    assert overlaps["shared content"].tolist() == [len(parts[a] & parts[b]) for a, b in (("train", "val"), ("train", "test"), ("val", "test"))]


@FEW
@given(image_tables())
def test_the_split_file_keeps_every_name(tmp_path_factory, table):
    table = table.assign(split=np.resize([*SPLITS, ""], len(table)))
    split = Split(table, tmp_path_factory.mktemp("split"), natural_sort(table["label"].unique()))
    saved = split.save(split.root / "split.csv")
    read = saved.table
    assert (saved.root, saved.classes, saved.fingerprint) == (split.root, split.classes, split.fingerprint)
    assert all(read[name].tolist() == table[name].tolist() for name in ("path", "label", "split", "sha256"))
    assert read["group"].equals(table["group"])


def check_metrics(predictions, classes):
    metrics = class_metrics(predictions, classes)
    rows, mean = metrics.iloc[:-1], metrics.iloc[-1]
    assert rows["class"].tolist() == classes and rows["support"].sum() == mean["support"] == len(predictions)
    for row in rows.to_dict("records"):
        own = predictions["label"] == row["class"]
        numbers = [row[name] for name in metrics if name not in ("class", "support")]
        if not row["support"]:
            assert np.isnan(numbers).all()
            continue
        assert row["accuracy"] == pytest.approx((predictions["predicted"][own] == row["class"]).mean())
        assert row["average_precision"] == pytest.approx(average_precision_score(own, predictions[f"prob_{row['class']}"]))
        for name in ("accuracy", "average_precision"):
            assert -1e-9 <= row[f"{name}_low"] <= row[f"{name}_high"] <= 1 + 1e-9
    for name in ("accuracy", "average_precision"):
        assert mean[name] == pytest.approx(rows[name].mean()) and mean[f"{name}_low"] <= mean[f"{name}_high"]
    return metrics


def check_sentences(metrics, predictions, classes):
    shown = format_metrics(metrics)
    assert len(shown) == len(metrics) and shown["class"].tolist()[:-1] == classes
    for row, told in zip(metrics.to_dict("records"), shown["accuracy: 95% interval"], strict=True):
        assert told == (f"{row['accuracy_low']:.3f} to {row['accuracy_high']:.3f}" if row["support"] else "–")
    found = metrics_summary(metrics, predictions)
    assert list(found["per_class"]) == classes
    assert found["accuracy"] == pytest.approx((predictions["label"] == predictions["predicted"]).mean())
    hit = predictions["label"] == predictions["predicted"]
    assert found["mean_class_accuracy"] == pytest.approx(hit.groupby(predictions["label"]).mean().mean())
    assert sum(entry["support"] for entry in found["per_class"].values()) == len(predictions)
    return found


@settings(FEW, max_examples=20)
@given(prediction_tables())
def test_tables_of_metrics(tmp_path_factory, made):
    predictions, classes = made
    found = check_sentences(check_metrics(predictions, classes), predictions, classes)
    file = tmp_path_factory.mktemp("results") / "results.json"
    write_json(file, found)
    assert list(json.loads(file.read_text())["per_class"]) == classes


@settings(FEW, max_examples=2)
@given(prediction_tables(MANY))
def test_tables_of_metrics_with_many_classes(made):
    check_sentences(check_metrics(*made), *made)


@FEW
@given(prediction_tables(), st.integers(1, 12))
def test_ranked_images(made, n):
    predictions, classes = made
    for name in classes:
        highest, lowest = top_and_bottom(predictions, name, n=n)
        scores = predictions[f"prob_{name}"]
        assert len(highest) == len(lowest) == min(n, len(predictions))
        assert highest[f"prob_{name}"].tolist() == sorted(scores, reverse=True)[:n]
        assert lowest[f"prob_{name}"].tolist() == sorted(scores)[:n][::-1]
        assert len(predictions) < 2 * n or not set(highest["path"]) & set(lowest["path"])
    with pytest.raises(ValueError, match="which is no class"):
        top_and_bottom(predictions, "no such class")


@FEW
@given(prediction_tables(), st.booleans())
def test_captions_of_predictions(made, of_a_class):
    predictions, classes = made
    name = classes[-1] if of_a_class else None
    marks = {predictions["path"][0]: "‡ "}
    texts = captions(predictions, name, marks)
    assert len(texts) == len(predictions) and len(set(text.rpartition("\n")[0] for text in texts)) == len(texts)
    for row, text in zip(predictions.to_dict("records"), texts, strict=True):
        path, score = text.rsplit("\n", 1)
        value = row[f"prob_{name or row['predicted']}"]
        score, arrow, predicted = score.partition(" → ")
        assert (arrow != "") == (row["label"] != row["predicted"]) and row["predicted"].startswith(predicted.removesuffix("…"))
        assert abs(float(score) - value) <= max(0.0005, 0.5 * value) + 1e-12 and path.startswith("‡ ") == (row["path"] in marks)
        assert path.endswith(row["path"].removesuffix(".png")[-9:]) and row["label"][-6:] in path


def test_captions_of_scores_that_are_no_numbers():
    table = pd.DataFrame({"path": ["a/1.png"], "label": ["a"], "predicted": ["a"], "prob_a": [math.nan]})
    assert captions(table, None, {}) == ["a/1\n–"]


@settings(FEW, max_examples=4)
@given(prediction_tables())
def test_plots_of_predictions_show_every_class(made):
    predictions, classes = made
    metrics = class_metrics(predictions, classes)
    confusion, points = plot_confusion(predictions, classes), plot_class_metrics(metrics)
    assert [text.get_text() for text in confusion.get_yticklabels()] == classes
    assert [text.get_text().rpartition(" (")[0] for text in points.get_yticklabels()][:-1] == classes
    plt.close("all")
