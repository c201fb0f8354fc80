"""The first two screens, made from numbers that are known; any part of a run may be missing."""

import re

import pandas as pd
import pytest

from inside.files import read_json, write_json
from inside.report import summary
from inside.report.deliverables import deliverables, ordered
from inside.report.found import Found
from inside.report.page import export_report


def change(folder, number, **changes):
    write_json(folder / f"{number}_results.json", read_json(folder / f"{number}_results.json") | changes)


def texts(claims):
    return " ".join(claim.text for claim in claims)


def test_tiles_hold_the_numbers_of_the_run(run_folder):
    accuracy, confusion, shares, ranks = summary.tiles(Found.read(run_folder))
    assert accuracy.value == "95.0%" and accuracy.detail == "95% interval 86.0% to 98.0%; baseline, always “sea”: 33.3%"
    assert confusion.value == "glacier → mountain" and confusion.detail == "2 of 3 errors among 60 test images"
    assert shares.value == "45.0% → 60.0%" and shares.detail.startswith("in layer2.0.conv1, ")
    assert ranks.value == "40.0 → 30.0" and ranks.detail.startswith("in head, ")
    assert accuracy.anchors[0] == "table-metrics_test" and confusion.anchors == ("figure-confusion",)


def test_setting_in_one_sentence(run_folder):
    assert summary.describe_setting(Found.read(run_folder)) == (
        "900 drawn images (demo) in 3 classes; split 630 / 108 / 162 into training, validation and test; resnet18 from ImageNet "
        "weights; 900 of 1,000 parameters are trained; 160×160 pixels, 3 epochs.")


def test_confusions_without_errors_and_with_ties(run_folder):
    table = pd.read_csv(run_folder / "predictions_test.csv")
    table["predicted"] = table["label"]
    table.to_csv(run_folder / "predictions_test.csv", index=False)
    assert summary.tiles(Found.read(run_folder))[1].value == "none"
    table.loc[[0, 1, 40, 41], "predicted"] = ["mountain", "mountain", "glacier", "glacier"]
    table.to_csv(run_folder / "predictions_test.csv", index=False)
    tile = summary.tiles(Found.read(run_folder))[1]
    assert tile.value == "2 pairs tied" and "2 each of 4 errors" in tile.detail


@pytest.mark.parametrize("low, high, words", [(0.9, 0.99, "is better than"), (0.2, 0.4, "cannot be told apart from"), (0.1, 0.2, "is worse than")])
def test_accuracy_against_its_baseline(run_folder, low, high, words):
    table = pd.read_csv(run_folder / "metrics_test.csv")
    table.loc[3, ["accuracy_low", "accuracy_high"]] = low, high
    table.to_csv(run_folder / "metrics_test.csv", index=False)
    assert f"the network {words} always saying “sea” (33.3%)" in summary.what_follows(Found.read(run_folder))[0].text


def test_what_follows_is_what_the_numbers_say(run_folder):
    told = texts(summary.what_follows(Found.read(run_folder)))
    assert "raised the share of non-positive values in 1 and lowered it in 1 of 3 layers, by at most 15.0 percentage points (layer2.0.conv1)" in told
    assert "effective rank" not in told  # how far it moves with the images is not known
    assert "the explanation by CAM changes: it passes this check" in told
    assert "the explanation by guided backpropagation does not change: it does not say why" in told
    rows = [("finetuned_own", layer, 0.7, 0.9) for layer in ("head", "conv1 (frozen)")]
    pd.DataFrame(rows, columns=["scenario", "layer", "ratio low", "ratio high"]).to_csv(run_folder / "tables" / "certainty.csv", index=False)
    claim = "Fine-tuning changed the effective rank in head (40.0 → 30.0) by more than the choice of images explains."
    assert claim in texts(summary.what_follows(Found.read(run_folder)))  # conv1 is 2.0 in both, whatever its ratio
    assert "effective rank" not in texts(summary.what_does_not_follow(Found.read(run_folder)))


def test_a_change_of_the_effective_rank_that_the_images_may_explain_does_not_follow(run_folder):
    def write(high):
        rows = [("finetuned_own", layer, 0.5, high if layer == "head" else 1.2) for layer in ("head", "layer2.0.conv1", "conv1")]
        rows += [("imagenet_own", layer, float("nan"), float("nan")) for layer in ("head", "layer2.0.conv1", "conv1")]
        pd.DataFrame(rows, columns=["scenario", "layer", "ratio low", "ratio high"]).to_csv(run_folder / "tables" / "certainty.csv", index=False)
        return [texts(told(Found.read(run_folder))) for told in (summary.what_follows, summary.what_does_not_follow)]
    follows, does_not = write(1)
    assert "effective rank" not in follows
    assert "That fine-tuning changed the effective rank in layer2.0.conv1 and head: the choice of images may explain the differences." in does_not
    assert summary.tiles(Found.read(run_folder))[3].detail == "in head, the largest change among 3 layers; the choice of images may explain it"
    follows, does_not = write(0.99)
    assert "changed the effective rank in head (40.0 → 30.0) by more than the choice" in follows
    assert "That fine-tuning changed the effective rank in layer2.0.conv1: the choice of images may explain the difference." in does_not
    assert summary.tiles(Found.read(run_folder))[3].detail == "in head, the largest change among 3 layers"


def test_a_difference_is_that_of_the_numbers_shown(run_folder):
    change(run_folder, "02", scenarios={"imagenet_own": {"head": {"non_positive_share": 0.41564}}, "finetuned_own": {"head": {"non_positive_share": 0.46339}}})
    found = Found.read(run_folder)
    assert summary.tiles(found)[2].value == "41.6% → 46.3%" and "by at most 4.7 percentage points" in texts(summary.what_follows(found))


def test_what_does_not_follow(run_folder):
    told = texts(summary.what_does_not_follow(Found.read(run_folder)))
    assert "Nothing about photographs" in told and "digits stand in for them" in told and "photo patches" not in told
    assert "That mountain is always classified correctly: although all 20 test images were, the accuracy may be as low as 83.9%" in told
    assert "Whether the explanation by gradient depends on" in told
    change(run_folder, "01", drawn=False)
    change(run_folder, "02", scenarios={}), change(run_folder, "03", scenarios={})
    told = texts(summary.what_does_not_follow(Found.read(run_folder)))
    assert "photographs" not in told and "stand in" not in told


def test_nothing_moved(run_folder):
    scenarios = read_json(run_folder / "03_results.json")["scenarios"]
    change(run_folder, "03", scenarios=scenarios | {"finetuned_own": scenarios["imagenet_own"]})
    found = Found.read(run_folder)
    assert summary.tiles(found)[3].value == "unchanged" and "left the effective rank as it was in all 3 layers, to the digits shown." in texts(summary.what_follows(found))


def test_deliverables_answer_in_a_line(run_folder):
    rows = {row.name: row for row in deliverables(Found.read(run_folder))}
    assert rows["Split into three parts"].answer == "630 / 108 / 162 images, stratified"
    assert rows["Proof that the three are disjoint"].answer.startswith("0 shared paths, 0 shared images")
    assert rows["Loss curves"].answer == "epoch 2 of 3 kept: cross-entropy 0.400 in training, 0.500 on validation"
    assert rows["Accuracy of each class by epoch"].answer.endswith("lowest glacier 80.0%, highest sea 100.0%")
    assert "on test, accuracy ranges from 0.900 (glacier) to 1.000 (mountain); average" in rows["Accuracy and AP by class"].answer
    assert rows["Ten highest and ten lowest images"].answer == "images of the class among the ten highest and the ten lowest: sea 10 and 1; 1 of 3 classes are shown (RANKED_CLASSES)"
    assert rows["Reproduced from the saved network"].answer.endswith("identical (tolerance 0.0001)")
    assert "from first to last layer: fine-tuned 50.0%, 60.0%, 40.0%; initial 50.0%, 45.0%, 42.0%" in rows["Share of non-positive values"].answer
    assert rows["Top-k eigenvalues: fine-tuned, own images"].answer == \
        "λ₁ = 2 in the last layer, 50.0% of its variance; 50.0% in the first layer"


def test_classes_that_tie_are_all_named(run_folder):
    table = pd.read_csv(run_folder / "metrics_test.csv")
    table.loc[[1, 2], ["accuracy", "average_precision"]] = 1.0, 0.9997  # the second is shown as 0.9997, not as 1.000
    table.to_csv(run_folder / "metrics_test.csv", index=False)
    answer = {row.name: row for row in deliverables(Found.read(run_folder))}["Accuracy and AP by class"].answer
    assert "to 1.000 (mountain and sea); " in answer and answer.endswith("to 0.9997 (mountain and sea)")


def beyond(folder, name):
    return {row.name: row.answer for row in deliverables(Found.read(folder))}[name]


def test_a_search_says_how_short_its_trials_are(run_folder):
    def told(**search):
        change(run_folder, "01", search={"trials": 6, "score": 0.8241} | search)
        return beyond(run_folder, "Search over settings")
    assert told(epochs=1, images=60) == "6 trials of 1 epoch on 60 of 630 training images, best on validation 0.824"
    assert told(epochs=3, images=0) == told(epochs=3, images=630) == "6 trials of 3 epochs, best on validation 0.824"
    assert "on 3 of 630" in told(epochs=1, images=2)  # one of each class
    assert told() == "6 trials, best on validation 0.824" and told(trials=1).startswith("1 trial, ")


def test_where_the_network_looks_is_answered_in_numbers(run_folder):
    def told(**maps):
        explained = read_json(run_folder / "02_results.json")["explanations"]
        change(run_folder, "02", explanations=explained | {"class_activation_map": {"method": "CAM", "layer": "x"} | maps})
        return beyond(run_folder, "Where the network looks")
    hottest, same = {"images": 6, "mean": 0.194}, {"errors": 4, "count": 0}
    assert told(hottest_tenth=hottest, same_place=same) == ("CAM: the hottest tenth of the image holds 19% of the evidence (mean of 6 right "
                                                            "predictions); in 0 of 4 errors the maps of both classes share half of their hottest tenths")
    assert told(hottest_tenth={"images": 0, "mean": None}, same_place={"errors": 1, "count": 1}).startswith("CAM: in 1 of 1 error the maps")
    assert told(hottest_tenth={"images": 1, "mean": 0.3}, same_place={"errors": 0, "count": 0}).endswith("30% of the evidence (one right prediction)")
    assert told() == "CAM of right and of wrong predictions"


def test_whether_its_confidence_can_be_believed_is_answered_in_numbers(run_folder):
    assert "Can its confidence be believed?" not in {row.name for row in deliverables(Found.read(run_folder))}  # a run of an earlier version
    change(run_folder, "01", calibration={"as_trained": {"confidence": 0.95, "accuracy": 0.9, "calibrated_low": 0.93, "calibrated_high": 0.97,
                                                         "expected_calibration_error": 0.06, "calibrated_level": 0.03}})
    row = {row.name: row for row in deliverables(Found.read(run_folder))}["Can its confidence be believed?"]
    assert row.answer.startswith("The network is overconfident on test: its mean confidence is 0.950, its accuracy 0.900, below the 0.930 to 0.970 of a "
                                 "perfectly calibrated network. ")
    assert row.answer.endswith("in 95 of 100 samples of this size") and row.anchors == ("figure-calibration", "table-calibration")


def test_what_the_pretrained_network_says_is_answered(run_folder):
    name, most = "The pretrained network as it is", {"sea": {"share": 0.5, "imagenet_class": "seashore"}, "_a_": {"share": 0.75, "imagenet_class": "jack-o'-lantern"}}
    assert name not in [row.name for row in deliverables(Found.read(run_folder))]  # a run of an earlier version
    change(run_folder, "02", as_it_is={"most_frequent": most, "accuracy": None})
    assert beyond(run_folder, name) == "75.0% of the images of \u2068_a_\u2069 are taken for \u2068jack-o'-lantern\u2069"
    change(run_folder, "02", as_it_is={"most_frequent": most, "accuracy": {"images": 1200, "top1": 0.88, "top5": 0.97}})
    assert beyond(run_folder, name).endswith("; of 1,200 images of ImageNet it classifies 88.0% correctly, 97.0% with five guesses")
    change(run_folder, "02", as_it_is=None)
    assert name not in [row.name for row in deliverables(Found.read(run_folder))]


def test_where_fine_tuning_begins_to_matter_is_answered(run_folder):
    layers = ["conv1", "layer2.0.conv1", "head"]

    def told(begins, changes, **missing):
        tuned = {name: {} if moved is None else {"weight_change": moved} for name, moved in zip(layers, changes, strict=True)}
        change(run_folder, "03", stages={"names": layers, "begins": begins, "networks": {"fine-tuned": tuned}, "missing": missing})
        return beyond(run_folder, "What fine-tuning changed, layer by layer")
    assert told("head", [0.0, 0.3, 0.2]) == ("a linear probe is significantly better in the last of 3 stages only, head; the weights moved most in "
                                             "layer2.0.conv1, stage 2")
    assert told("layer2.0.conv1", [0.0, 0.3, 0.2]).startswith("a linear probe is significantly better from stage 2 of 3 on, layer2.0.conv1;")
    assert told(None, [0.4, None, 0.2]) == "no stage from which on a linear probe is significantly better; the weights moved most in conv1, stage 1"
    assert told(None, [0, 0, 0], probe="5 images are too few") == "no stage has learnt; 5 images are too few"
    change(run_folder, "03", stages=None)
    assert "What fine-tuning changed, layer by layer" not in [row.name for row in deliverables(Found.read(run_folder))]


def test_stand_ins_and_missing_scenarios_are_marked(run_folder):
    rows = {row.name: row for row in deliverables(Found.read(run_folder))}
    stand_in, missing = (rows[f"Top-k eigenvalues: initial, {name} images"] for name in ("CIFAR-10", "ImageNet"))
    assert stand_in.remark == "stand-in" and stand_in.answer.startswith("digits for CIFAR-10 images: ") and stand_in.anchors
    assert missing.remark == "missing" and missing.answer == "IMAGENET_VAL: no folder 'x'" and not missing.anchors


@pytest.mark.parametrize("there", [(), ("01",), ("02",), ("02", "03"), ("01", "03")])
def test_any_notebook_may_be_missing(run_folder, there):
    for number in {"01", "02", "03"} - set(there):
        (run_folder / f"{number}_results.json").unlink()
    found = Found.read(run_folder)
    missing = {row.task[0] for row in deliverables(found) if row.remark == "missing" and "has not run here" in row.answer}
    assert missing == {str(int(number)) for number in {"01", "02", "03"} - set(there)}
    assert [tile.value == "–" for tile in summary.tiles(found)] == ["01" not in there] * 2 + ["02" not in there, "03" not in there]
    assert summary.describe_setting(found) and ("Notebook 01 has not run" in summary.describe_setting(found)) is (bool(there) and "01" not in there)
    assert ordered(deliverables(found)).index[:3].str[0].tolist() == ["1", "2", "3"]
    page = export_report([], run_folder / "report.html").read_text(encoding="utf-8")
    assert page.count('class="value"') == 4 and not re.search(r"\b(nan|None)\b", page.split("</style>")[1].split("base64")[0])


def test_a_change_that_the_digits_do_not_show_is_none():
    assert summary._directions([("a", 0.4934, 0.4931), ("b", 0.5, 0.6)], 3) == (True, "raised {} in 1 of 2 layers")
    assert summary._directions([("a", 1.6005, 1.6007)], 1) == (False, "left {} as it was in all 1 layers, to the digits shown")
