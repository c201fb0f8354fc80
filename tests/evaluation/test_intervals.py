"""Tests of inside/evaluation/intervals.py."""

import math
import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import settings as options
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm
from sklearn.metrics import average_precision_score

from inside.evaluation.describe import describe_classes, describe_confusion, describe_evaluation, describe_scores
from inside.evaluation.intervals import (
    difference_interval,
    effective_size,
    leave_one_out_average_precision,
    logit_interval,
    mean_interval,
    mean_share_interval,
    sampling_units,
    wilson_interval,
)
from inside.evaluation.metrics import MEAN_ROW, class_metrics, format_metrics, majority_baseline, metrics_summary
from inside.evaluation.plots import plot_class_metrics
from inside.evaluation.predictions import prediction_table
from inside.text import percent, points

pytestmark = pytest.mark.usefixtures("one_thread")


COUNTS = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.one_of(st.integers(0, n), st.sampled_from([0, n])), st.just(n)))


@options(max_examples=50)
@given(st.lists(COUNTS, min_size=1, max_size=6), st.floats(0, 1), st.floats(0.5, 0.999))
def test_every_interval_lies_within_0_and_1_and_holds_its_estimate(counts, error, level):
    hits, sizes = np.array(counts, dtype=float).T
    shares = hits / sizes
    for share, size in zip(shares, sizes, strict=True):
        for low, high in (wilson_interval(share, size, level), logit_interval(share, error, size, level)):
            assert 0 <= low <= share <= high <= 1
    low, high = mean_share_interval(shares, sizes, level)
    assert 0 <= low <= shares.mean() + 1e-9 and shares.mean() - 1e-9 <= high <= 1
    ends = [(shares[place], *wilson_interval(shares[place], sizes[place], level)) for place in (0, -1)]
    low, high = difference_interval(*ends)
    assert -1 <= low <= shares[0] - shares[-1] <= high <= 1


def test_mean_and_its_interval():
    values = np.random.default_rng(1).normal(3, 1, 400)
    mean, low, high = mean_interval(np.append(values, np.nan))
    expected = scipy.stats.t.interval(0.95, 399, values.mean(), values.std(ddof=1) / 20)
    assert (mean, low, high) == pytest.approx((values.mean(), *expected))
    assert mean_interval([0.9, 1.0, 0.2], bounds=(-1, 1))[1:] == pytest.approx((-0.382, 1), abs=1e-3)
    assert np.isnan(mean_interval([np.nan])).all() and mean_interval([2.0])[0] == 2 and np.isnan(mean_interval([2.0])[1:]).all()


def test_the_interval_of_few_drops_covers_more_than_a_percentile_bootstrap():
    rng = np.random.default_rng(0)
    samples = rng.exponential(1, (1500, 20))
    held = np.mean([low <= 1 <= high for _, low, high in map(mean_interval, samples)])
    low, high = np.quantile(samples[:, rng.integers(0, 20, (500, 20))].mean(2), [0.025, 0.975], axis=1)
    assert held > ((low <= 1) & (high >= 1)).mean() + 0.005 and held > 0.9


quick = options(max_examples=40, deadline=None, derandomize=True)


def predictions_of(labels, scores, classes):
    table = pd.DataFrame({"path": [f"{index}.png" for index in range(len(labels))], "label": labels})
    scores = np.asarray(scores, dtype=float)
    return prediction_table(table, scores, -np.log(np.maximum(scores.max(1), 1e-9)), classes)


def decided(hits_by_class):
    """Predictions of classes "0", "1", ... with these hits (lists of booleans) each; what is wrong is taken for the next class."""
    classes = [str(index) for index in range(max(2, len(hits_by_class)))]
    labels = np.repeat(np.arange(len(hits_by_class)), [len(hits) for hits in hits_by_class])
    predicted = (labels + ~np.concatenate(hits_by_class).astype(bool)) % len(classes)
    return predictions_of([classes[label] for label in labels], np.eye(len(classes))[predicted] * 0.8 + 0.1, classes), classes


def metrics_of(hits_by_class, **more):
    predictions, classes = decided(hits_by_class)
    return class_metrics(predictions, classes, **more)


@st.composite
def tables(draw):
    """Predictions of 2 to 4 classes, some perhaps without images, with many equal scores; groups of copies, or none."""
    classes, n = ["a", "mean", "mean over classes", "d"][:draw(st.integers(2, 4))], draw(st.integers(1, 16))
    labels = draw(st.lists(st.sampled_from(classes), min_size=n, max_size=n))
    scores = np.array(draw(st.lists(st.lists(st.integers(1, 4), min_size=len(classes), max_size=len(classes)), min_size=n, max_size=n)), float)
    groups = draw(st.lists(st.one_of(st.none(), st.integers(0, 2)), min_size=n, max_size=n))
    return predictions_of(labels, scores / scores.sum(1, keepdims=True), classes), classes, draw(st.sampled_from([None, groups]))


@options(quick, max_examples=20)
@given(tables())
def test_metrics_by_brute_force(drawn):
    predictions, classes, groups = drawn
    metrics = class_metrics(predictions, classes, groups=groups)
    assert metrics["class"].tolist() == [*classes, MEAN_ROW] and list(metrics)[:4] == ["class", "support", "accuracy", "average_precision"]
    measures, ends = ["accuracy", "average_precision"], ["accuracy_low", "accuracy_high", "average_precision_low", "average_precision_high"]
    for row, name in zip(metrics.to_dict("records"), classes, strict=False):
        own = predictions[predictions["label"] == name]
        assert row["support"] == len(own)
        if own.empty:
            assert all(math.isnan(row[key]) for key in measures + ends)
            continue
        assert row["accuracy"] == pytest.approx(sum(own["predicted"] == name) / len(own))
        assert row["average_precision"] == pytest.approx(average_precision_score(predictions["label"] == name, predictions[f"prob_{name}"]))
    present, mean = metrics.iloc[:-1].dropna(), metrics.iloc[-1]
    for key in measures:
        assert mean[key] == pytest.approx(present[key].mean())
        rows = metrics[metrics["support"] > 0]
        assert (0 <= rows[f"{key}_low"]).all() and (rows[f"{key}_low"] <= rows[key] + 1e-12).all()
        assert (rows[key] <= rows[f"{key}_high"] + 1e-12).all() and (rows[f"{key}_high"] <= 1).all()
        assert (rows[f"{key}_high"] - rows[f"{key}_low"] > 1e-3).all()  # also where all are right
    found = metrics_summary(metrics, predictions)
    assert found["mean_class_accuracy"] == mean["accuracy"] and list(found["per_class"]) == classes
    assert format_metrics(metrics)["class"].tolist() == [*classes, MEAN_ROW]


@quick
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=25).filter(lambda rows: any(hit for hit, _ in rows)))
def test_leaving_out_each_image_is_scikit_learn_without_it(rows):
    positive, score = np.array([hit for hit, _ in rows]), np.array([value / 7 for _, value in rows])
    found = leave_one_out_average_precision(positive, score)
    for place, value in enumerate(found):
        left = np.delete(positive, place)
        assert value == pytest.approx(average_precision_score(left, np.delete(score, place)), abs=1e-12) if left.any() else math.isnan(value)


def test_classes_called_mean_have_rows_of_their_own():
    predictions = predictions_of(["mean", "mean", "all"], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], ["mean", "all"])
    metrics = class_metrics(predictions, ["mean", "all"])
    assert metrics["accuracy"].tolist() == [0.5, 1, 0.75]
    assert set(metrics_summary(metrics, predictions)["per_class"]) == {"mean", "all"}
    ax = plot_class_metrics(metrics, baseline=0.5)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["mean (2)", "all (1)", "mean over classes (3)"]
    markers = [line for line in ax.lines if line.get_marker() in "oD" and len(line.get_xdata()) == 1]
    assert [line.get_marker() for line in markers] == ["o"] * 3 + ["D"] * 3  # accuracy, average precision
    assert [line.get_xdata()[0] for line in markers] == [*metrics["accuracy"], *metrics["average_precision"]]
    assert len({line.get_color() for line in markers}) == 1
    ends = [list(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 2.5]
    assert np.allclose(ends, np.concatenate([metrics[[f"{name}_low", f"{name}_high"]] for name in ("accuracy", "average_precision")]))
    lowest = describe_evaluation({"val": metrics, "test": metrics}, majority_baseline(["mean"], predictions["label"]),
                                         conflicts=0, bad=0, drawn=False)[1]
    assert lowest.startswith("Lowest class accuracy on test: **mean** (50.0%") and "highest: **all** (100.0%" in lowest


def test_the_baseline_of_the_mean_stands_in_its_row():
    ax = plot_class_metrics(metrics_of([[True] * 4, [False] * 4]), baseline=0.5)
    line = ax.lines[-1]
    assert set(line.get_xdata()) == {0.5} and min(line.get_ydata()) > 1.5 and max(line.get_ydata()) < 2.5
    assert ax.get_legend().get_texts()[0].get_text() == "baseline, mean over classes: 0.500"


@pytest.mark.parametrize("labels, wanted", [
    (["a"] * 90 + ["b"] * 10, (0.9, 0.5)), (["a", "b", "c", "d"], (0.25, 0.25)), (["b", "b"], (0.0, 0.0)), (["a"], (1.0, 1.0))])
def test_the_baseline_is_compared_like_with_like(labels, wanted):
    """What always predicting "a" gives, by the same functions that judge a network."""
    classes = ["a", "b", "c", "d"]
    found = majority_baseline(["c", "a", "a", "b"], labels)
    predictions = predictions_of(labels, [[1, 0, 0, 0]] * len(labels), classes)
    summary = metrics_summary(class_metrics(predictions, classes), predictions)
    assert (found["accuracy"], found["mean_class_accuracy"]) == pytest.approx(wanted)
    assert (found.pop("class"), found.pop("ties")) == ("a", 1) and found == pytest.approx({name: summary[name] for name in found}) and len(found) == 3


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 2, 18, 88])
def test_the_interval_of_a_class_is_wilsons(n, level):
    for hits in range(n + 1):
        wanted = binomtest(hits, n).proportion_ci(level, method="wilson")
        row = metrics_of([np.arange(n) < hits, [True]], level=level).iloc[0] if hits % 9 == 0 else None
        found = wilson_interval(hits / n, n, level)
        assert found == pytest.approx((wanted.low, wanted.high), abs=1e-12)
        assert row is None or (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(found)
        assert mean_share_interval([hits / n], [n], level) == pytest.approx(found, abs=1e-9)  # one class: the same


@pytest.mark.parametrize("p, n, level", [(0.99, 27, 0.95), *(pytest.param(*row, marks=pytest.mark.soak) for row in ((0.8, 88, 0.95), (0.95, 27, 0.95), (0.8, 88, 0.5)))])
def test_class_accuracy_covers_as_often_as_it_should(p, n, level):
    """The truth in 400 intervals, within what chance allows around the exact share; as wide as Wilson's on average."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(10):
        rows.append(metrics_of(rng.random((40, n)) < p, level=level).iloc[:-1])
    rows = pd.concat(rows)
    held = ((rows["accuracy_low"] <= p) & (p <= rows["accuracy_high"])).sum()
    ends = [binomtest(hits, n).proportion_ci(level, method="wilson") for hits in range(n + 1)]
    chance = binom.pmf(range(n + 1), n, p)
    exact = sum(weight for weight, end in zip(chance, ends, strict=True) if end.low <= p <= end.high)
    low, high = binom.interval(0.9999, len(rows), exact)
    assert low <= held <= high and abs(exact - level) < 0.05
    wanted = sum(weight * (end.high - end.low) for weight, end in zip(chance, ends, strict=True))
    assert (rows["accuracy_high"] - rows["accuracy_low"]).mean() == pytest.approx(wanted, rel=0.05)


def likeliest(shares, sizes, mean):
    """The likeliest shares of two classes with this mean, from a fine grid."""
    first = np.linspace(max(0, 2 * mean - 1), min(1, 2 * mean), 200_001)[1:-1]
    both = np.clip(np.stack([first, 2 * mean - first], axis=1), 1e-12, 1 - 1e-12)
    fit = (sizes * (shares * np.log(both) + (1 - shares) * np.log(1 - both))).sum(1)
    return both[fit.argmax()]


@pytest.mark.parametrize("shares, sizes", [([0.9, 0.5], [10, 40]), ([1.0, 0.8], [18, 5]), ([1.0, 1.0], [6, 30]), ([0.0, 0.3], [12, 10])])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_of_a_mean_ends_where_a_score_test_rejects(shares, sizes, level):
    shares, sizes = np.array(shares), np.array(sizes)
    for end, sign in zip(mean_share_interval(shares, sizes, level), (1, -1), strict=True):
        if 0 < end < 1:
            p = likeliest(shares, sizes, end)
            score = (shares.mean() - end) / math.sqrt((p * (1 - p) / sizes).sum() / 4)
            assert sign * score == pytest.approx(norm.ppf((1 + level) / 2), rel=2e-3)
        else:
            assert end == shares.mean()


@pytest.mark.parametrize("p, n", [(0.8, 27), (0.95, 18), (0.99, 27), (0.99, 88)])
def test_the_mean_accuracy_covers(p, n):
    """Six classes: 93 to 99% of 600 intervals, within what chance allows; never without width, also where all are right."""
    rng = np.random.default_rng(n)
    ends = np.array([mean_share_interval(rng.binomial(n, p, 6) / n, [n] * 6) for _ in range(600)])
    held = ((ends[:, 0] <= p) & (p <= ends[:, 1])).sum()
    assert binom.ppf(0.001, 600, 0.93) <= held <= binom.ppf(0.999, 600, 0.99)
    assert np.diff(ends).mean() < 1.25 * 2 * 1.96 * math.sqrt(p * (1 - p) / (6 * n))
    hits = rng.random((6, n)) < p
    for right, wanted in ((hits, mean_share_interval(hits.mean(1), [n] * 6)),
                          (np.ones((6, n)), wilson_interval(1, 6 * n))):
        row = metrics_of(right).iloc[-1]
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(wanted)


def ranked_scores(rng, n, distance, classes=2):
    """Labels and two or more softmax scores of images whose true class is raised by `distance`."""
    labels = np.arange(n) % classes
    logits = rng.standard_normal((n, classes))
    logits[np.arange(n), labels] += distance
    scores = np.exp(logits)
    return labels.astype(str), scores / scores.sum(1, keepdims=True), [str(index) for index in range(classes)]


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_of_average_precision_by_brute_force(level):
    """The jackknife with scikit-learn's average precision of all sets without one image, then a logit interval."""
    labels, scores, classes = ranked_scores(np.random.default_rng(1), 40, 0.7, classes=3)
    metrics = class_metrics(predictions_of(labels, scores, classes), classes, level=level)
    without = np.array([[average_precision_score(np.delete(labels, place) == name, np.delete(scores[:, k], place))
                         for k, name in enumerate(classes)] for place in range(len(labels))])
    without, z = np.column_stack([without, without.mean(1)]), norm.ppf((1 + level) / 2)
    for k, row in enumerate(metrics.to_dict("records")):
        parts = [without[labels == name, k] for name in classes]
        error = math.sqrt(sum((len(part) - 1) * part.var() for part in parts))
        value = row["average_precision"]
        logits = [math.log(value / (1 - value)) + sign * z * error / (value * (1 - value)) for sign in (-1, 1)]
        wanted = [1 / (1 + math.exp(-logit)) for logit in logits]
        assert [row["average_precision_low"], row["average_precision_high"]] == pytest.approx(wanted)


def test_average_precision_covers():
    """Three classes, 20 images each: the truth from 300,000 images is in 93 to 99% of the intervals, for a class and the mean."""
    rng, rounds = np.random.default_rng(0), 100
    labels, scores, classes = ranked_scores(rng, 300_000, 3.0, classes=3)
    truth = [average_precision_score(labels == name, scores[:, k]) for k, name in enumerate(classes)]
    truth = np.array([*truth, np.mean(truth)])
    held, widths = np.zeros(4), []
    for _ in range(rounds):
        labels, scores, _ = ranked_scores(rng, 60, 3.0, classes=3)
        metrics = class_metrics(predictions_of(labels, scores, classes), classes)
        low, high = metrics["average_precision_low"].to_numpy(), metrics["average_precision_high"].to_numpy()
        held += (low <= truth) & (truth <= high)
        widths.append(high - low)
    assert binom.ppf(0.001, 3 * rounds, 0.93) <= held[:3].sum() <= binom.ppf(0.999, 3 * rounds, 0.99)
    assert binom.ppf(0.001, rounds, 0.93) <= held[3] <= binom.ppf(0.999, rounds, 0.99)
    assert np.mean(widths, axis=0)[3] < 0.75 * np.mean(widths, axis=0)[:3].mean()  # a mean of three is known better than each


@pytest.mark.parametrize("none", [None, math.nan, pd.NA])
def test_copies_of_a_picture_count_as_one_draw(none):
    """Each image twice, as a group: the intervals are those of the images once; ignored, they are narrower by about √2."""
    labels, scores, classes = ranked_scores(np.random.default_rng(2), 90, 1.2, classes=3)
    once = class_metrics(predictions_of(labels, scores, classes), classes)
    twice = predictions_of(np.tile(labels, 2), np.tile(scores, (2, 1)), classes)
    known = class_metrics(twice, classes, groups=pd.Series([*range(90), *range(90)], index=range(5, 185)))
    ignored = class_metrics(twice, classes, groups=[none] * 180)
    ends = ["accuracy_low", "accuracy_high"]
    pd.testing.assert_frame_equal(known[ends], once[ends])
    for measure, allowed in (("accuracy", 0.12), ("average_precision", 0.12)):
        width = [(table[f"{measure}_high"] - table[f"{measure}_low"]).to_numpy() for table in (once, known, ignored)]
        assert np.allclose(width[1] / width[0], 1, atol=allowed) and np.allclose(width[2] / width[0], math.sqrt(0.5), atol=allowed)
    pd.testing.assert_frame_equal(ignored, class_metrics(twice, classes))


def test_groups_are_told_apart_by_label_and_counted():
    units = sampling_units(["a", "a", "b", "a", "b"], [7, 7, 7, None, pd.NA])
    assert units[0] == units[1] and len(set(units)) == 4
    assert effective_size(units[:2]) == 1 and effective_size(np.array([0, 0, 1, 2])) == pytest.approx(16 / 6)
    with pytest.raises(ValueError, match="groups has 1 entries for 2 images"):
        sampling_units(["a", "b"], [1])


def test_a_perfect_ranking_has_an_interval():
    metrics = metrics_of(np.ones((3, 10)))
    assert (metrics["average_precision"] == 1).all() and (metrics["average_precision_high"] == 1).all()
    assert metrics["average_precision_low"].tolist() == pytest.approx([wilson_interval(1, n)[0] for n in (10, 10, 10, 30)])


def test_the_interval_of_a_difference_covers():
    """Two independent means with the same truth: 0 is in about 95 of 100 intervals of the difference, at any value of it."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        parts = [(share := rng.binomial(n, 0.8) / n, *wilson_interval(share, n)) for n in (60, 90)]
        low, high = difference_interval(*parts)
        assert low <= parts[0][0] - parts[1][0] <= high
        held += low <= 0 <= high
    assert binom.ppf(0.001, 400, 0.93) <= held <= binom.ppf(0.999, 400, 0.99)
    assert difference_interval((0.9, 0.8, 0.95), (0.5, 0.4, 0.7)) == pytest.approx(  # Newcombe's formula
        (0.4 - math.hypot(0.1, 0.2), 0.4 + math.hypot(0.05, 0.1)))


CLASS_SIZES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=5)


def evaluated(val, test):
    """Metrics of val and test, and the baseline, from (right, wrong) of each class."""
    hits = [[np.arange(right + wrong) < right for right, wrong in part] for part in (val, test)]
    predictions = [decided(part)[0] for part in hits]
    baseline = majority_baseline(["0"], predictions[1]["label"])
    return {name: metrics_of(part) for name, part in zip(("val", "test"), hits, strict=True)}, predictions[1], baseline


def told_of(val, test, **more):
    metrics, _, baseline = evaluated(val, test)
    return describe_evaluation(metrics, baseline, **{"conflicts": 0, "bad": 0, "drawn": False} | more)


@quick
@given(CLASS_SIZES, CLASS_SIZES)
@example([(3, 0)] * 150, [(3, 0)] * 149 + [(2, 1)])
@example([(5, 0), (5, 0)], [(5, 0), (5, 0)])
@example([(0, 1)], [(0, 1)])
def test_no_sentence_contradicts_its_numbers(val, test):
    if not sum(map(sum, val)) or not sum(map(sum, test)):
        return
    metrics, predictions, baseline = evaluated(val, test)
    result = metrics_summary(metrics["test"], predictions)
    lines = [*describe_evaluation(metrics, baseline, conflicts=0, bad=0, drawn=False), describe_confusion(predictions),
             describe_scores(result, baseline), describe_classes(metrics["test"])]
    for line in lines:
        assert not re.search(r"\bnan\b|\binf|None|  |-0\.0|\(\)", line) and "\n" not in line and len(line) < 500 or line is lines[-1]
    mean, found = metrics["test"].iloc[-1], metrics["test"].iloc[:-1].query("support > 0")
    low, high = float(re.search(r"interval ([\d.]+)% to", lines[0])[1]), float(re.search(r"to ([\d.]+)%\)", lines[0])[1])
    assert low <= 100 * mean["accuracy"] + 0.051 and high >= 100 * mean["accuracy"] - 0.051
    base = baseline["mean_class_accuracy"]
    place = re.search(r"(above|below|within) that interval", lines[0])[1]
    assert place == ("above" if base > mean["accuracy_high"] else "below" if base < mean["accuracy_low"] else "within")
    named = re.findall(r"\*\*(\w+)\*\*", lines[1])
    if found["accuracy"].nunique() > 1:
        first, second = (set(re.findall(r"\*\*(\w+)\*\*", part)) for part in lines[1].split("; highest"))
        assert first and first <= set(found["class"][found["accuracy"] == found["accuracy"].min()]) and not first & second
        assert second and second <= set(found["class"][found["accuracy"] == found["accuracy"].max()])
    else:
        assert not re.search("owest|ighest|ardest|asiest", lines[1]) and len(named) == (len(found) == 1)
    gap = metrics["val"].iloc[-1]["accuracy"] - mean["accuracy"]
    if len(metrics["val"]) != len(metrics["test"]) or list(metrics["val"]["support"] > 0) != list(metrics["test"]["support"] > 0):
        assert "cannot be compared" in lines[2]
    else:
        words = {word for word in ("above", "below", "equals") if word in lines[2]}
        assert words == ({"above"} if gap > 1e-9 else {"below"} if gap < -1e-9 else {"equals"})
        assert ("more than" in lines[2]) != ("could explain" in lines[2] or "equals" in lines[2])
    wrong = int((predictions["label"] != predictions["predicted"]).sum())
    assert ("taken for" in lines[4] or "twice" in lines[4]) == (wrong > 0)


def test_what_is_told_of_an_evaluation():
    lines = told_of([(9, 1), (10, 0)], [(6, 4), (10, 0)], conflicts=1, bad=2, drawn=True)
    assert lines[0].startswith("The network classifies **80.0%** of the test images correctly, as a mean over classes (95% interval ")
    assert lines[0].endswith("Always predicting “0”, the most frequent class of training, gives 50.0% as a mean over classes, below that interval.")
    assert re.match(r"Lowest class accuracy on test: \*\*0\*\* \(60.0%, 95% interval 31.3% to 83.2%\); highest: \*\*1\*\* \(100.0%, 95% interval 72.2% to 100.0%\)\.", lines[1])
    assert "is 15.0 percentage points above that on test" in lines[2] and "which the choice of images alone could explain. The epoch was" in lines[2]
    assert lines[3] == "1 group of identical images carries different labels, and 2 files could not be decoded."
    assert lines[4].startswith("**All images of this run are drawn**") and len(lines) == 5
    lines = told_of([(300, 0)] * 2, [(200, 100)] * 2)
    assert lines[1] == "All 2 classes that have test images have the same accuracy, 66.7%."
    assert "33.3 percentage points above" in lines[2] and "more than the choice of images usually explains." in lines[2]
    assert lines[3] == "No group of identical images carries different labels, and every file could be decoded." and len(lines) == 4
    assert "conflicts" not in told_of([(1, 0)], [(1, 0)], conflicts=2)[3] and told_of([(1, 0)], [(1, 0)], conflicts=2)[3].startswith("2 groups of identical images carry")


def test_perfect_classes_are_not_called_hard():
    lines = told_of([(5, 0)] * 3, [(5, 0)] * 3)
    assert lines[0].startswith("The network classifies **100.0%**") and lines[1] == "All 3 classes that have test images have the same accuracy, 100.0%."
    assert "equals that on test" in lines[2] and "below" not in lines[2]


def test_ties_are_all_named_or_counted():
    assert "test: **0** and **1** (50.0%); highest: **2** (100.0%," in told_of([(2, 0)] * 3, [(1, 1), (1, 1), (2, 0)])[1]
    told = told_of([(2, 0)] * 150, [(1, 1)] + [(2, 0)] * 149)[1]
    assert "**0** (50.0%, 95%" in told and "**1**, **2**, **3**, **4** and 145 more (100.0%)" in told


def test_a_lone_class_and_classes_that_differ():
    assert told_of([(1, 1)], [(1, 1)])[1] == "Only one class has test images: **0**."
    assert "cannot be compared" in told_of([(1, 1), (1, 0)], [(1, 1), (0, 0)])[2]


@pytest.mark.parametrize("wrong, told", [
    ([], "All 6 test images are classified correctly."),
    (["ab"], "a is taken for b once, the only error on test."),
    (["ab", "ab", "bc"], "a is taken for b most often: 2 of 3 errors on test."),
    (["ab", "ab", "bc", "bc"], "a is taken for b and b is taken for c most often: 2 each of 4 errors on test."),
    (["ab", "bc", "ca"], "No error occurs twice: 3 errors on test, each of another pair of classes.")])
def test_what_is_told_of_a_confusion(wrong, told):
    pairs = [*(tuple(pair) for pair in wrong), *[("c", "c")] * (6 - len(wrong))]
    assert describe_confusion(pd.DataFrame(pairs, columns=["label", "predicted"])) == told


@pytest.mark.parametrize("share, text", [(1, "100.0%"), (0, "0.0%"), (0.9996, "99.96%"), (0.00004, "0.004%"), (0.5, "50.0%"), (0.96, "96.0%")])
def test_percent_is_100_only_for_all(share, text):
    assert percent(share) == text


@pytest.mark.parametrize("share, text", [(0, "0"), (0.0126, "1.3"), (-0.0126, "−1.3"), (0.0002, "0.02"), (1e-16, "0")])
def test_points_are_zero_only_for_none(share, text):
    assert points(share) == text
