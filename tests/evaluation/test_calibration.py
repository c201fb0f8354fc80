"""Tests of inside/evaluation/calibration.py, of its sentences and of what is shown of it."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, confusion_matrix, log_loss

from inside.evaluation.calibration import (
    AS_TRAINED,
    CLASS_SHARES,
    IN_A_BIN,
    WITH_TEMPERATURE,
    calibrate,
    calibrated_draws,
    calibration_error,
    coverage_table,
    equal_mass_bins,
    fit_temperature,
    format_calibration,
    measure,
    reliability_table,
    with_temperature,
)
from inside.evaluation.calibration_sentences import (
    describe_calibration,
    describe_coverage,
    describe_promise,
    describe_temperature,
)
from inside.evaluation.intervals import wilson_interval
from inside.evaluation.metrics import most_confused
from inside.evaluation.report import report_calibration, report_confusion
from inside.files import write_json
from shared.training import predictions_of

CLASSES = ["c 10", "c 9", "a", "b"]  # in no order that a library would give them


def drawn(n, *, factor=1.0, spread=3.0, seed=0):
    """Scores of a network whose logits are `factor` times those of a calibrated one, (n, 4), and the classes drawn from the latter."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, 4)) * spread
    return softmax(factor * logits, axis=1), labels_of(softmax(logits, axis=1), generator)


def labels_of(scores, generator):
    """A class for each image, drawn with the probabilities that its scores state."""
    return (generator.random((len(scores), 1)) > scores.cumsum(1)[:, :-1]).sum(1)


def table_of(scores, targets, classes=CLASSES):
    return predictions_of(np.asarray(classes, dtype=object)[targets], scores, classes)


def found_of(n, **options):
    val, test = (table_of(*drawn(n, seed=seed, **options)) for seed in (1, 2))
    return calibrate(val, test, CLASSES)


def singles(n):
    return np.arange(n)


@pytest.mark.parametrize("n, spread", [(40, 1), (333, 2), (2000, 5)])
def test_measures_are_those_of_scikit_learn(n, spread):
    scores, targets = drawn(n, factor=1.7, spread=spread)
    found, (confidence, hits) = measure(scores, targets, singles(n)), (scores.max(1), scores.argmax(1) == targets)
    assert found["brier_score"] == pytest.approx(brier_score_loss(targets, scores, labels=range(4), scale_by_half=False))
    assert found["negative_log_likelihood"] == pytest.approx(log_loss(targets, scores, labels=range(4)))
    assert (found["confidence"], found["accuracy"]) == pytest.approx((confidence.mean(), hits.mean()))
    table = reliability_table(scores, targets, singles(n))
    accuracy, mean = calibration_curve(hits, confidence, n_bins=min(15, n // IN_A_BIN), strategy="quantile")
    np.testing.assert_allclose(table[["accuracy", "confidence"]], np.stack([accuracy, mean], 1))
    assert table["images"].sum() == n and np.ptp(table["images"]) <= 1
    assert table[["accuracy_low", "accuracy_high"]].to_numpy()[0].tolist() == list(wilson_interval(accuracy[0], table["images"][0]))
    assert found["expected_calibration_error"] == pytest.approx((table["images"] * abs(accuracy - mean)).sum() / n)


def test_the_order_of_the_classes_does_not_matter():
    scores, targets = drawn(200, factor=2)
    first, turned = (calibrate(part, part, ["a", "a", "b"]) for part in (table_of(scores, targets), table_of(scores[:, ::-1], 3 - targets, CLASSES[::-1])))
    pd.testing.assert_frame_equal(first.measures, turned.measures)
    assert first.temperature == pytest.approx(turned.temperature)
    assert first.measures.loc[CLASS_SHARES, "negative_log_likelihood"] > 100  # two classes are not in training
    given = table_of(scores, targets)
    even = calibrate(given, given, CLASSES).measures.loc[CLASS_SHARES]
    assert even["negative_log_likelihood"] == pytest.approx(np.log(4)) and even["brier_score"] == pytest.approx(0.75)


@pytest.mark.parametrize("factor", [0.4, 1, 3])
def test_a_planted_temperature_is_found(factor):
    scores, targets = drawn(8_000, factor=factor)
    temperature = fit_temperature(scores, targets)
    assert temperature == pytest.approx(factor, rel=0.05)
    np.testing.assert_allclose(with_temperature(scores, factor), drawn(8_000)[0], rtol=1e-6, atol=1e-12)
    losses = {shift: log_loss(targets, with_temperature(scores, temperature * shift)) for shift in (0.99, 1, 1.01)}
    assert min(losses, key=losses.get) == 1
    before, after = (measure(kind, targets, singles(8_000)) for kind in (scores, with_temperature(scores, temperature)))
    assert after["expected_calibration_error"] <= after["calibrated_level"]
    assert (before["expected_calibration_error"] > before["calibrated_level"]) == (factor != 1)


def test_a_calibrated_network_lies_within_the_level_in_95_of_100_samples():
    """Each image is drawn once, or as a pair of copies with one label, which a level without them would not allow for."""
    generator = np.random.default_rng(3)
    scores = np.repeat(drawn(150, spread=2)[0], 2, axis=0)
    confidence, predicted, pairs = scores.max(1), scores.argmax(1), np.repeat(np.arange(150), 2)
    bins, within = equal_mass_bins(confidence), {}
    for name, units in (("single", singles(300)), ("copies", pairs)):
        found = measure(scores, predicted, units)
        samples = [labels_of(scores, generator) if name == "single" else np.repeat(labels_of(scores[::2], generator), 2) for _ in range(1000)]
        errors = np.array([calibration_error(sample == predicted, confidence, bins) for sample in samples])
        accuracies = np.array([(sample == predicted).mean() for sample in samples])
        within[name] = (errors <= found["calibrated_level"]).mean()
        assert 0.93 < within[name] < 0.97
        assert 0.92 < ((found["calibrated_low"] <= accuracies) & (accuracies <= found["calibrated_high"])).mean() < 0.98
    ignored = np.quantile(calibrated_draws(confidence, bins, singles(300))[:, 0], 0.95)
    assert (errors <= ignored).mean() < 0.85


def test_the_simulation_is_the_same_for_a_seed():
    confidence = drawn(90)[0].max(1)
    first, same, other = (calibrated_draws(confidence, equal_mass_bins(confidence), singles(90), draws=20, seed=seed) for seed in (0, 0, 1))
    assert (first == same).all() and (first != other).any() and first.shape == (20, 2)


def test_the_temperature_is_that_of_validation_and_is_applied_to_test():
    (val_scores, val_targets), (scores, targets) = drawn(500, factor=3, seed=1), drawn(700, seed=2)
    found = calibrate(table_of(val_scores, val_targets), table_of(scores, targets), CLASSES, seed=5)
    assert found.temperature == fit_temperature(val_scores, val_targets) > 2 and found.images == 700
    tempered = with_temperature(scores, found.temperature)
    assert found.measures.loc[AS_TRAINED].to_dict() == measure(scores, targets, singles(700), seed=5)
    assert found.measures.loc[WITH_TEMPERATURE].to_dict() == measure(tempered, targets, singles(700), seed=5)
    assert found.coverage.equals(coverage_table(scores, targets, singles(700)))


def test_copies_count_as_one_image():
    once = table_of(*drawn(600, seed=2))
    twice = pd.concat([once, once], ignore_index=True)
    groups = [*range(600), *range(600)]
    single, known, ignored = calibrate(once, once, CLASSES), calibrate(once, twice, CLASSES, groups=groups), calibrate(once, twice, CLASSES)
    for name in ("reliability", "coverage"):
        np.testing.assert_allclose(*(getattr(found, name)[["accuracy_low", "accuracy_high"]] for found in (single, known)))
        assert (getattr(ignored, name)["accuracy_low"] > getattr(known, name)["accuracy_low"]).all()
    levels = [found.measures["calibrated_level"].iloc[0] for found in (single, known, ignored)]
    assert levels[0] == pytest.approx(levels[1], rel=0.1) and levels[2] < 0.8 * levels[1]


def test_equal_confidences_share_a_bin():
    scores, targets = drawn(300)
    hits, rounded = scores.argmax(1) == targets, scores.max(1).round(1)
    accuracy, _ = calibration_curve(hits, rounded, n_bins=10, strategy="quantile")
    bins = equal_mass_bins(rounded)
    assert (np.bincount(bins, hits) / np.bincount(bins)).tolist() == pytest.approx(accuracy) and len(accuracy) < 10
    confidence = np.repeat([0.5, 0.9, 1.0], [10, 30, 140])
    bins = equal_mass_bins(confidence)
    assert all(len(set(bins[confidence == value])) == 1 for value in (0.5, 0.9, 1.0)) and set(bins) == set(range(bins.max() + 1))
    assert set(equal_mass_bins(np.full(100, 0.7))) == set(equal_mass_bins(np.array([0.3]))) == {0}


def test_accuracy_by_coverage():
    """Six images, two of them with the same confidence: they are decided together or not at all."""
    confidence, hits = np.array([0.9, 0.6, 0.8, 0.6, 0.7, 0.55]), np.array([1, 0, 1, 1, 0, 0])
    table = coverage_table(np.stack([confidence, 1 - confidence], 1), 1 - hits, singles(6)).sort_values("coverage", ascending=False)
    assert (table["coverage"] * 6).tolist() == pytest.approx([6, 5, 3, 2, 1]) and table["threshold"].tolist() == [0.55, 0.6, 0.7, 0.8, 0.9]
    assert table["errors"].tolist() == [3, 2, 1, 0, 0] and table["accuracy"].tolist() == pytest.approx([3 / 6, 3 / 5, 2 / 3, 1, 1])
    assert table[["accuracy_low", "accuracy_high"]].iloc[1].tolist() == pytest.approx(wilson_interval(3 / 5, 5))
    many = coverage_table(*drawn(1000), singles(1000))
    assert sorted(many["coverage"]) == pytest.approx(np.arange(1, 21) / 20)
    assert describe_coverage(table) == "Without the 1 least confident image (17%), accuracy is 0.600 instead of 0.500: 1 of 3 errors is among them."


LIMITS = {  # scores of validation and test alike, the true classes
    "a class is never predicted": ([[0.6, 0.3, 0.1, 0]] * 9 + [[0.2, 0.7, 0.1, 0]] * 5, [0, 0, 0, 1, 2, 3] + [0] * 3 + [1, 1, 0, 1, 3]),
    "all correct": ([[0.9, 0.1, 0, 0], [0, 1, 0, 0]] * 20, [0, 1] * 20), "all wrong": ([[0.9, 0.1, 0, 0], [0, 1, 0, 0]] * 20, [1, 0] * 20),
    "five images": (softmax(np.eye(4)[[0, 1, 2, 3, 0]] * np.arange(1, 6)[:, None], axis=1), [0, 1, 2, 0, 0]), "one image": ([[0.4, 0.3, 0.2, 0.1]], [1]),
    "all scores equal": ([[0.25] * 4] * 30, [0, 1, 2] * 10), "sure and wrong": (np.eye(4)[[0, 1] * 20], [0, 0] * 20)}


@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_at_the_limits_there_are_numbers_and_sentences(kind, tmp_path):
    scores, targets = LIMITS[kind]
    predictions = table_of(scores, targets)
    found = calibrate(predictions, predictions, CLASSES)
    write_json(tmp_path / "x.json", found.results())
    told = json.loads((tmp_path / "x.json").read_text())
    assert told["images"] == len(targets) and None not in [*told["as_trained"].values(), *told["class_shares_of_training"].values()]
    assert all(np.isfinite(table.select_dtypes("number")).all(axis=None) for table in (found.measures, found.reliability, found.coverage))
    assert (told["temperature"] is None) == (told["no_temperature"] is not None) == (told["with_the_temperature"] is None)
    shown = report_calibration(found)
    parts = [inner for part in shown for inner in getattr(part, "parts", (part,))]
    words = " ".join(getattr(part, name, "") for part in parts for name in ("markdown", "caption", "alt"))
    assert [type(part).__name__ for part in shown] == ["Figure", "Text", "Fold"] and "nan" not in words and "-0" not in words
    assert ("all validation images are classified correctly" in words) == (kind == "all correct") == ("There is no error" in words)
    assert ("All test images have the same confidence" in words) == (kind in ("all scores equal", "one image", "sure and wrong"))
    if kind == "one image":
        shown[0].drawing.canvas.draw()
    plt.close("all")


def test_a_temperature_beyond_all_bounds_is_none():
    scores, targets = drawn(400, factor=60)
    assert fit_temperature(scores, targets) is None
    predictions = table_of(scores, targets)
    assert describe_temperature(calibrate(predictions, predictions, CLASSES)).startswith(
        "No temperature is fitted: on validation, the likelihood has no maximum between 0.05 and 20.")


@pytest.mark.parametrize("changes, told", [
    ({"accuracy": 0.8}, "The network is overconfident on test: its mean confidence is 0.900, its accuracy 0.800, below the 0.870 to 0.930 of a perfectly calibrated network."),
    ({"accuracy": 0.95}, "The network is underconfident on test: its mean confidence is 0.900, its accuracy 0.950, above the 0.870 to 0.930 of a perfectly calibrated network."),
    ({"expected_calibration_error": 0.06}, "The network is miscalibrated on test, although its mean confidence is 0.900, its accuracy 0.890."),
    ({}, "The test images do not contradict the confidence of the network: its mean confidence is 0.900, its accuracy 0.890.")])
def test_what_is_told_of_confidence(changes, told):
    row = {"confidence": 0.9, "accuracy": 0.89, "calibrated_low": 0.87, "calibrated_high": 0.93, "expected_calibration_error": 0.02,
           "calibrated_level": 0.05} | changes
    assert describe_calibration(row) == (f"{told} The expected calibration error is {row['expected_calibration_error']:.3f}; that of a perfectly "
                                         "calibrated network would be at most 0.050 in 95 of 100 samples of this size.")


def test_sentences_on_over_and_underconfident_networks():
    over, under, fair = (found_of(1500, factor=factor) for factor in (2, 0.5, 1))
    assert [describe_calibration(found.measures.iloc[0]).split(":")[0] for found in (over, under, fair)] == [
        "The network is overconfident on test", "The network is underconfident on test", "The test images do not contradict the confidence of the network"]
    assert [describe_promise(found).rpartition(": ")[2] for found in (over, under, fair)] == [
        "it is less reliable than it says.", "it is more reliable than it says.", "chance allows this difference."]
    errors = round(1500 * (1 - over.measures["accuracy"].iloc[0]))
    assert f" in 1,500 test images and makes {errors}: " in describe_promise(over)
    values = over.measures.loc[[AS_TRAINED, WITH_TEMPERATURE]]
    assert describe_temperature(over) == (
        f"On test, the temperature of {over.temperature:.3f}, fitted on validation, lowers the expected calibration error from "
        "{:.3f} to {:.3f}".format(*values["expected_calibration_error"]) + " and the negative log-likelihood from {:.3f} to {:.3f}.".format(*values["negative_log_likelihood"]))
    turned = over.measures.copy()
    turned.loc[WITH_TEMPERATURE, ["expected_calibration_error", "negative_log_likelihood"]] = [0.9, values["negative_log_likelihood"].iloc[0] + 1e-9]
    worse = type(over)(over.images, 2.0, "", turned, over.reliability, over.coverage)
    assert "raises the expected calibration error from" in describe_temperature(worse) and "and leaves the negative log-likelihood at" in describe_temperature(worse)


def test_the_section_shows_the_numbers():
    found = found_of(600, factor=2)
    figure, text, fold = report_calibration(found)
    table, *numbers = fold.parts
    assert figure.name == "calibration" and figure.caption.startswith("The network is overconfident on test: ")
    assert text.markdown == f"{describe_promise(found)} {describe_temperature(found)}"
    left, right = figure.drawing.axes
    points = [line for line in left.lines if line.get_marker() != "None"]
    for line, (name, bins) in zip(points, found.reliability.groupby("scores", sort=False), strict=True):
        assert line.get_label() == name and line.get_xydata().tolist() == bins[["confidence", "accuracy"]].to_numpy().tolist()
    assert [name for name, _ in found.reliability.groupby("scores", sort=False)] == [AS_TRAINED, WITH_TEMPERATURE]
    bars = left.collections[0].get_segments()
    assert [bar[:, 1].tolist() for bar in bars] == found.reliability.query("scores == @AS_TRAINED")[["accuracy_low", "accuracy_high"]].to_numpy().tolist()
    assert right.lines[0].get_xydata().tolist() == found.coverage[["coverage", "accuracy"]].to_numpy().tolist()
    assert set(right.lines[1].get_ydata()) == {found.measures["accuracy"].iloc[0]}
    assert table.table["scores"].tolist() == [AS_TRAINED, WITH_TEMPERATURE, CLASS_SHARES] and table.name == "calibration"
    shown, row = format_calibration(found.measures).iloc[0], found.measures.iloc[0]
    assert shown["accuracy if calibrated"] == f"{row['calibrated_low']:.3f} to {row['calibrated_high']:.3f}"
    assert shown["error if calibrated"] == f"at most {row['calibrated_level']:.3f}" and shown["Brier score"] == row["brier_score"]
    assert [part.name for part in numbers] == ["reliability", "coverage"] and numbers[1].table is found.coverage
    plt.close("all")


def test_the_most_confused_pairs():
    targets, predicted = [0] * 9 + [1] * 6 + [2] * 3 + [3], [0] * 5 + [1] * 3 + [2] + [1] * 4 + [0] * 2 + [2, 3, 1] + [3]
    predictions = table_of(np.eye(4)[predicted], targets)
    pairs = most_confused(predictions)
    counts = confusion_matrix(predictions["label"], predictions["predicted"], labels=CLASSES)
    assert pairs[["label", "predicted", "errors"]].to_numpy().tolist() == [["c 10", "c 9", 3], ["c 9", "c 10", 2]] == [
        ["c 10", "c 9", counts[0, 1]], ["c 9", "c 10", counts[1, 0]]]
    assert pairs["share"].tolist() == pytest.approx([3 / 9, 2 / 6]) and len(most_confused(predictions, at_least=1)) == 5
    (table,) = report_confusion(predictions, CLASSES)[-1].parts
    assert table.name == "most_confused" and table.caption.startswith("5 of 8 errors on test are of 2 kinds that occur more than once. ")
    few = predictions[predictions["label"] == "c 9"]
    assert report_confusion(few, CLASSES)[-1].parts[0].caption.startswith("2 of 2 errors on test are of 1 kind that occurs more than once. ")
    for none in (predictions[predictions["label"] == "b"], predictions[predictions["label"] == "a"]):
        assert most_confused(none).empty and len(report_confusion(none, CLASSES)) == 2
    plt.close("all")
