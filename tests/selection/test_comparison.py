"""Tests of inside/selection/comparison.py."""

import json
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from inside.data.split import Split
from inside.evaluation.metrics import class_metrics
from inside.files import RunFolder, write_json
from inside.preflight import check_settings
from inside.selection.comparison import (
    compare,
    describe_best,
    describe_comparison,
    describe_first,
    format_comparison,
    row_name,
)
from inside.training.experiment import train_into
from inside.training.plots import plot_learning_curves
from shared.settings import settings


def test_comparison(split, tmp_path, capsys):
    table = pd.concat([part.assign(group=part.index // 2) for part in split.parts.values()])  # as if there were copies
    split = Split(table, split.root, split.classes)
    run = RunFolder(str(tmp_path / "run"))
    rows = [{"ARCHITECTURE": "convnet5", "ARCHITECTURE_OPTIONS": {"filters": 4}, "EPOCHS": 3}, {"STRATEGY": "head"}, {}]
    chosen = check_settings(settings(COMPARE=rows, WEIGHTS="imagenet", ARCHITECTURE="efficientnet_lite0", IMAGE_SIZE=32, EPOCHS=1))
    train_into(run, chosen, split, features=run.path("features"))
    found = compare(run, chosen, split)
    compared, histories = found.table, found.histories
    assert compared["name"].tolist() == list(histories) == [
        "convnet5, from scratch", "efficientnet_lite0, head, pretrained", "efficientnet_lite0, full, pretrained"]
    assert compared["from_scratch"].tolist() == [True, False, False]
    write_json(tmp_path / "compared.json", compared.to_dict("records"))
    assert json.loads((tmp_path / "compared.json").read_text())[0]["from_scratch"] is True
    assert compared["epochs"].tolist() == [3, 1, 1] and not run.path("comparison", "3").exists()  # the third is the run itself
    assert compared.loc[1, "trainable"] == 1280 * 6 + 6 < compared.loc[2, "trainable"] != compared.loc[0, "trainable"]
    for number, row in enumerate(compared.to_dict("records"), 1):
        part = run if number == 3 else RunFolder(str(run.path("comparison", str(number))))
        predictions = pd.read_csv(part.path("predictions_test.csv"))
        hits = predictions["label"] == predictions["predicted"]
        assert row["test"] == pytest.approx(hits.groupby(predictions["label"]).mean().mean())
        assert row["test_accuracy"] == pytest.approx(hits.mean()) and row["test_low"] <= row["test"] <= row["test_high"]
        mean = class_metrics(predictions, split.classes, groups=split.parts["test"]["group"]).iloc[-1]
        assert (row["test_low"], row["test_high"]) == (mean["accuracy_low"], mean["accuracy_high"])
        history = pd.read_csv(part.path("history.csv"))
        assert row["val"] == pytest.approx(history["val_mean_class_accuracy"].max()) and row["seconds"] >= history["seconds"].sum() - 1e-6
    capsys.readouterr()
    pd.testing.assert_frame_equal(compare(run, chosen, split).table, compared)
    assert capsys.readouterr().out.count("used again") == 3
    table, figure, told = found.report()
    assert table.name == figure.name == "comparison" and all(f"{row.name} {row.val:.3f}" in figure.alt for row in compared.itertuples(index=False, name="Row"))
    assert table.caption.startswith(describe_best(compared)) and figure.caption.startswith(describe_first(histories))
    assert told.markdown.splitlines() == [f"- {line}" for line in describe_comparison(compared, histories)]
    assert found.results() == compared.to_dict("records")
    shown = format_comparison(compared)
    assert shown["network"].tolist() == compared["name"].tolist() and len(shown.columns) == 7
    assert shown["validation: mean class accuracy"].tolist() == compared["val"].tolist()
    assert describe_comparison(compared, histories)[0].startswith(f"Best on validation: **{compared['name'][compared['val'].idxmax()]}**")
    ax = plot_learning_curves(histories)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(histories)


@pytest.mark.parametrize("changes", [{"COMPARE": []}, {"COMPARE": [{"EPOCHS": 3}], "TRAIN": False}])
def test_no_comparison_says_so_and_trains_nothing(changes, split, tmp_path):
    found = compare(RunFolder(str(tmp_path / "run")), settings(**changes), split)
    assert found.results() is None and "No networks were compared" in found.report()[0].markdown
    assert not list((tmp_path / "run").glob("comparison*"))


def test_rows_of_the_same_name_are_told_apart():
    chosen = settings(COMPARE=[{"EPOCHS": 2}, {"EPOCHS": 3}, {"STRATEGY": "head"}], WEIGHTS="imagenet", ARCHITECTURE="resnet18")
    assert [row_name(chosen, row) for row in chosen["COMPARE"]] == [
        "resnet18, full, pretrained (epochs 2)", "resnet18, full, pretrained (epochs 3)", "resnet18, head, pretrained"]


HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "seconds": [10.0, 15.0, 275.0], "val_mean_class_accuracy": [0.3, 0.25, 0.6]})


def made_comparison(**columns):
    return pd.DataFrame({"name": ["convnet5, from scratch", "net, head, pretrained", "net, full, pretrained"], "from_scratch": [True, False, False],
                         "trainable": [9000, 10, 20000], "epochs": 3, "seconds": [300.0, 30.0, 600.0], "val": [0.6, 0.9, 0.95],
                         "test": [0.61, 0.91, 0.94], "test_low": 0.5, "test_high": 0.99} | columns)


def test_what_is_told_of_a_comparison():
    table = made_comparison()
    histories = dict.fromkeys(table["name"], HISTORY)
    lines = describe_comparison(table, histories)
    assert lines[0] == "Best on validation: **net, full, pretrained** (0.950; test 0.940, 95% interval 0.500 to 0.990)."
    assert "Fastest: **net, head, pretrained**, in 30 s: 5% of the best one's time, and 0.050 below" in lines[1]
    assert "**convnet5, from scratch** stays 0.350 below" in lines[2] and "9,000 trainable weights" in lines[2]
    assert lines[2].endswith("When the fastest had finished, with 0.900, it had reached 0.300.")
    assert len(describe_comparison(table.assign(seconds=[300.0, 800.0, 200.0]), histories)) == 2


def test_what_the_captions_of_a_comparison_claim():
    table, nan = made_comparison(), float("nan")
    assert describe_best(table) == "Mean class accuracy on test goes from 0.610 (convnet5, from scratch) to 0.940 (net, full, pretrained)."
    assert describe_best(table[:1]) == "convnet5, from scratch has a mean class accuracy of 0.610 on test."
    assert describe_best(table.assign(test=nan)) == "No network has a score on test."
    histories = {"one": HISTORY, "two": HISTORY.assign(val_mean_class_accuracy=[0.4, 0.9, 0.9])}
    assert describe_first(histories) == "After one epoch two is at 0.400 on validation, one at 0.300."
    assert describe_first({"one": HISTORY, "same": HISTORY}) == "After one epoch one is at 0.300 on validation."
    assert describe_first({"one": HISTORY.assign(val_mean_class_accuracy=nan)}) == "No network has a score after its first epoch."


def test_rows_from_scratch_are_told_whatever_their_name():
    """Two rows of the same network have their changes behind the name; a pretrained row is not one from scratch by its name."""
    names = ["convnet5, from scratch (epochs 3)", "convnet5, from scratch (epochs 9)", "net, full, pretrained (head from scratch"]
    table = made_comparison(name=names, from_scratch=[True, True, False], val=[0.6, 0.7, 0.95], seconds=[30.0, 300.0, 600.0])
    lines = describe_comparison(table, dict.fromkeys(names, HISTORY))
    assert [line.split(" stays ")[0] for line in lines[2:]] == ["**convnet5, from scratch (epochs 9)**", "**convnet5, from scratch (epochs 3)**"]
    lines = describe_comparison(table.assign(name=[*names[:2], "x, from scratch"]), dict.fromkeys([*names[:2], "x, from scratch"], HISTORY))
    assert len(lines) == 4 and not any(line.startswith("**x, from scratch** stays") for line in lines)


def test_equal_networks_are_level():
    names = [f"net {number}" for number in range(3)]
    table = made_comparison(name=names, from_scratch=[False, True, False], val=[0.9, 0.9002, 0.9001], seconds=[30.0, 60.0, 90.0])
    lines = describe_comparison(table, dict.fromkeys(names, HISTORY))
    assert lines[0].endswith("Level with it: net 2, net 0.") and "and level with it on validation" in lines[1] and len(lines) == 2
    lines = describe_comparison(table.assign(from_scratch=True), dict.fromkeys(names, HISTORY))
    assert "**net 2** stays level with the best on validation" in lines[2]


scores = st.sampled_from([0.0, 0.5, 0.5004, 0.9, 1.0, float("nan")])


@budget(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.booleans(), scores, scores, st.sampled_from([0.4, 1.0, 20.0, 300.0])), min_size=1, max_size=5))
def test_every_sentence_of_a_comparison_is_made_and_holds(rows):
    """One network, ties, no score, no interval, a time of zero: no "nan", and nothing against the numbers."""
    table = pd.DataFrame([{"name": f"net {number}", "from_scratch": scratch, "trainable": 7, "seconds": seconds, "val": val,
                           "test": 0.5, "test_low": low, "test_high": low, "epochs": 3} for number, (scratch, val, low, seconds) in enumerate(rows)])
    lines = describe_comparison(table, dict.fromkeys(table["name"], HISTORY))
    known = table[table["val"].notna()].set_index("name")
    assert bool(lines) == (len(known) > 0)
    for line in lines:
        assert line.endswith(".") and not re.search(r"\bnan\b|\binf\b|0\.000 below|None", line), line
    if lines:
        best = re.search(r"\*\*(net \d)\*\* \(([\d.]+);", lines[0])
        assert known.loc[best[1], "val"] == known["val"].max() and best[2] == f"{known['val'].max():.3f}"
        level = set(re.findall(r"net \d", lines[0].partition("Level with it:")[2]))
        assert level == set(known.index[known["val"] > known["val"].max() - 0.0005]) - {best[1]}
        told = [line.split("**")[1] for line in lines if " stays " in line]
        assert set(told) == set(known.index[known["from_scratch"]]) - {best[1]}
        quick = [line.split("**")[1] for line in lines if line.startswith("Fastest")]
        assert bool(quick) == (known["seconds"].min() < known.loc[best[1], "seconds"])
        assert not quick or known.loc[quick[0], "seconds"] == known["seconds"].min()
