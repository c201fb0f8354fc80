"""Tests of inside/report/card.py: every number of the model card is one of the run's, and names in it are text."""

import pandas as pd
import pytest

from inside.files import read_json, write_json
from inside.report.card import FILE, card_html, card_markdown, write_card
from inside.report.found import Found


@pytest.fixture
def whole(run_folder):
    """The folder of a run with all that the card tells."""
    own = read_json(run_folder / "01_results.json") | {
        "near_duplicates": {"pairs": 5}, "leaks": {"path": 0, "content": 0, "near": 2},
        "suspected_labels": {"suspects": 12, "images": 900, "by_part": {"train": 9, "test": 3}},
        "calibration": {"temperature": 0.61, "as_trained": {"confidence": 0.74, "accuracy": 0.95, "expected_calibration_error": 0.21}}}
    write_json(run_folder / "01_results.json", own)
    metrics = pd.read_csv(run_folder / "metrics_test.csv").assign(average_precision_low=0.9, average_precision_high=0.99)
    metrics.to_csv(run_folder / "metrics_test.csv", index=False)
    return run_folder


def test_the_card_tells_the_numbers_of_the_run(whole):
    card = card_markdown(Found.read(whole))
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == [
        "Model details", "Intended use", "Factors", "Metrics", "Training and evaluation data", "Quantitative analyses",
        "Ethical considerations", "Caveats and recommendations", "How to load it"]
    for told in ("resnet18 of 1,000 parameters, of which 900 were trained, from ImageNet weights, on 160×160 pixels; epoch 2 of 3 is kept",
                 "into 3 classes: glacier, mountain and sea", "Nothing is known about photographs.", "630 images to train, 108 to choose settings and epoch, 162 to test",
                 "On test, mean class accuracy 0.950 (95% interval 0.860 to 0.980).", "5 pairs of near duplicates were found, 2 of them in two parts.",
                 "Lowest class accuracy: glacier (90.0%); highest: mountain (100.0%).", "Mean confidence 74.0% where 95.0% are correct",
                 "Divide the logits by 0.61", "12 of 900 labels are suspected to be wrong, 3 of them of test images."):
        assert told in card, told
    page = card_html(Found.read(whole))
    assert page.count("<h4>") == 9 and "<code>python run.py predict run path/to/images</code>" in page


def test_names_in_it_are_text(whole):
    own = read_json(whole / "01_results.json")
    name = "<svg onload=x>[a](javascript:b)*c*"
    own["test"]["per_class"] = {name: {"support": 20}, "sea": {"support": 20}}
    write_json(whole / "01_results.json", own | {"dataset": name, "drawn": False})
    card, page = card_markdown(Found.read(whole)), card_html(Found.read(whole))
    assert "<svg" not in card.replace("\\<svg", "") and "[a](" not in card and "\u2068" not in card
    assert "<svg" not in page and "<a " not in page and "&lt;svg onload=x&gt;[a](javascript:b)*c*" in page


def test_it_is_written_where_notebook_01_has_run(whole, tmp_path):
    write_card(whole)
    assert (whole / FILE).read_text(encoding="utf-8") == card_markdown(Found.read(whole))
    (tmp_path / "other").mkdir()
    write_card(tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == [] and card_html(Found.read(tmp_path / "other")) == ""


def test_results_of_earlier_versions_have_a_shorter_card(whole):
    own = {key: value for key, value in read_json(whole / "01_results.json").items() if key not in ("near_duplicates", "suspected_labels", "calibration")}
    write_json(whole / "01_results.json", own)
    card = card_markdown(Found.read(whole))
    assert "suspected" not in card and "near duplicates" not in card and "confidence" not in card and card.count("## ") == 9
