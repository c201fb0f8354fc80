"""Tests of inside/many_runs/check/: an honest run passes, and each way of tampering is found by what should find it."""

import json
import re
import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from inside.cli.main import main
from inside.files import write_csv
from inside.many_runs.check import report as check_report_module
from inside.many_runs.check.against import read_reference
from inside.many_runs.check.copies import check_copies
from inside.many_runs.check.files import HandIn, own_notebook
from inside.many_runs.check.images import check_images, check_weights
from inside.many_runs.check.notebooks import check_code, check_shown
from inside.many_runs.check.report import check_report
from inside.many_runs.check.rows import DIFFERS, HOLDS, NOT_FOUND, OTHER_VERSION, UNDECIDED, Tolerance, compared
from inside.many_runs.check.runs import check_runs
from inside.many_runs.check.scores import check_predictions, check_score_tables, check_scores, remade_metrics, remade_scores
from inside.many_runs.check.sentences import check_sentences
from inside.many_runs.check.shares import check_shares
from inside.many_runs.check.spectra import Features, check_spectra, check_spectra_tables
from inside.many_runs.check.split import check_draw, check_split, given_parts
from inside.many_runs.check.times import check_stamps, check_times
from inside.report.page import outside_requests


@pytest.fixture
def handed_in(looked, tmp_path):
    """A copy of a whole run, to be tampered with."""
    shutil.copytree(looked[0], tmp_path / "anna")
    return tmp_path / "anna"


def verdicts(rows):
    return {row.verdict for row in rows}


def wrong(rows):
    """What does not hold, with what is told and recomputed."""
    return {row.what: (row.told, row.recomputed) for row in rows if row.verdict != HOLDS}


def change_json(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def change_csv(path, change):
    table = pd.read_csv(path, keep_default_na=False)
    change(table)
    table.to_csv(path, index=False)


def change_notebook(path, change):
    book = nbformat.read(path, as_version=4)
    change(book)
    nbformat.write(book, path)


def test_a_run_that_nobody_changed_passes(looked, capsys):
    assert main(["check", str(looked[0])]) == 0
    told = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ")[0] for line in told if " | " in line]
    assert len(rows) > 60 and set(rows) == {HOLDS, NOT_FOUND} and rows.count(NOT_FOUND) == 1  # further draws of random weights
    assert told[len(rows)] == f"{looked[0]}: {len(rows) - 1} hold, 1 not examined"
    assert told[len(rows) + 1].startswith("not found: Without --images, ") and len(told) == len(rows) + 5


def test_a_number_changed_in_the_results(handed_in):
    change_json(handed_in / "01_results.json", lambda found: found["test"].update(mean_class_accuracy=0.987))
    found = wrong(check_scores(HandIn.open(str(handed_in))))
    assert set(found) == {"mean class accuracy on test", "01_results.json: test: mean_class_accuracy"}
    assert all(told == "0.987" and made.startswith("0.") for told, made in found.values())


def test_a_number_changed_in_a_table(handed_in):
    change_csv(handed_in / "tables" / "metrics_test.csv", lambda table: table.__setitem__("accuracy", table["accuracy"] + 0.001))
    hand_in = HandIn.open(str(handed_in))
    assert all("metrics_test" in what for what in wrong(check_shown(hand_in, "01"))) and wrong(check_shown(hand_in, "01"))
    assert wrong(check_score_tables(hand_in)).keys() >= {"tables/metrics_test.csv: row 1.accuracy"}


def test_a_table_that_an_earlier_run_left_is_not_judged(handed_in):
    change_csv(handed_in / "tables" / "metrics_test.csv", lambda table: table.__setitem__("accuracy", 0.123))
    change_notebook(handed_in / "01_split_and_classify.ipynb", lambda book: [output["data"].update({"text/html": output["data"]["text/html"].replace(
        "table-metrics_test", "table-other")}) for cell in book.cells for output in cell.get("outputs", []) if "text/html" in output.get("data", {})])
    found = list(check_score_tables(HandIn.open(str(handed_in))))
    assert verdicts(found) == {HOLDS} and "tables/metrics_test.csv" not in {row.what for row in found} >= {"tables/metrics_val.csv"}


def test_parameters_that_run_json_has_forgotten_are_those_of_the_notebooks(handed_in):
    change_json(handed_in / "run.json", lambda found: [found["parameters"].pop(name) for name in ("TOP_K", "RESAMPLES")])  # as `--only 01` does
    hand_in = HandIn.open(str(handed_in))
    assert hand_in.settings["TOP_K"] == 9 and hand_in.settings["RESAMPLES"] == 20 and verdicts(check_spectra(Features.of(hand_in))) == {HOLDS}
    change_json(handed_in / "run.json", lambda found: found["parameters"].update(RESAMPLES=10 ** 9))
    with pytest.raises(ValueError, match="run.json has parameters that are not valid: RESAMPLES"):
        _ = HandIn.open(str(handed_in)).settings


def test_a_number_changed_where_a_notebook_shows_it(handed_in):
    def change(book):
        (output,) = [output for cell in book.cells for output in cell.get("outputs", []) if 'id="table-metrics_test"' in output.get("data", {}).get("text/html", "")]
        html = output["data"]["text/html"]
        cell = html[html.index("row0 col2"):].split(">")[1].split("<")[0]
        output["data"]["text/html"] = html.replace(f'row0 col2" >{cell}', 'row0 col2" >0.777')
    change_notebook(handed_in / "01_split_and_classify.ipynb", change)
    assert list(wrong(check_shown(HandIn.open(str(handed_in)), "01"))) == ["01_split_and_classify.ipynb: table metrics_test, row 1"]


@pytest.mark.parametrize("number, place, words", [("01", "id=\"figure-confusion\"", "are misclassified"), ("03", "id=\"table-found_again\"", "directions")])
def test_a_sentence_changed_where_a_notebook_shows_it(handed_in, number, place, words):
    def change(book):
        (output,) = [output for cell in book.cells for output in cell.get("outputs", []) if place in output.get("data", {}).get("text/html", "")]
        output["data"]["text/html"] = re.sub(r"<figcaption>(.*?</b>) ", r"<figcaption>\1 All is very well. ", re.sub(r"\d+", "0", output["data"]["text/html"]))
    name = own_notebook(number).name
    assert verdicts(check_sentences(HandIn.open(str(handed_in)), number)) == {HOLDS}
    change_notebook(handed_in / name, change)
    found = [row for row in check_sentences(HandIn.open(str(handed_in)), number) if row.verdict == DIFFERS]
    assert found and all(row.what == f"{name}: a sentence" for row in found) and any("0" in row.told and row.recomputed for row in found)


def test_a_figure_exchanged(handed_in):
    shutil.copy(handed_in / "figures" / "confusion.png", handed_in / "figures" / "training.png")
    (what,) = wrong(check_shown(HandIn.open(str(handed_in)), "01"))
    assert what.endswith("figure training against figures/training.png")


def test_pixels_changed_in_a_figure(handed_in):
    path = handed_in / "figures" / "confusion.png"
    with Image.open(path) as image:
        changed = image.convert("RGB")
    changed.paste("black", (0, 0, changed.width // 4, changed.height // 4))
    changed.save(path)
    (row,) = [row for row in check_shown(HandIn.open(str(handed_in)), "01") if row.verdict != HOLDS]
    assert row.what.endswith("figure confusion against figures/confusion.png") and "the pixels differ by" in row.remark


def test_a_sentence_changed_in_the_report(handed_in, monkeypatch):
    page = (handed_in / "report.html").read_text()
    monkeypatch.setattr(check_report_module, "export_again", lambda hand_in: page)  # as it is, see the run that nobody changed
    (handed_in / "report.html").write_text(page.replace("mean class accuracy", "mean class accuracy of 99.9%", 1))
    (row,) = check_report(HandIn.open(str(handed_in)))
    assert row.verdict == DIFFERS and "of 99.9%" in row.told and "99.9%" not in row.recomputed and "+" in row.shown


def test_test_images_in_training(handed_in):
    change_csv(handed_in / "split.csv", lambda table: table.__setitem__("split", table["split"].where(table.index != table.index[table["split"] == "test"][0], "train")))
    hand_in = HandIn.open(str(handed_in))
    assert {"01_results.json: split: train", "01_results.json: split: test", "model.json: the split that the network was trained on"} == set(wrong(check_split(hand_in)))
    assert wrong(check_predictions(hand_in, "test"))


def test_copies_of_test_images_in_training(handed_in):
    def change(table):
        test, train = table.index[table["split"] == "test"][0], table.index[table["split"] == "train"][0]
        table.loc[train, "sha256"] = table.loc[test, "sha256"]
    change_csv(handed_in / "split.csv", change)
    assert wrong(check_split(HandIn.open(str(handed_in))))["split.csv: images in two parts, by sha256"] == ("0", "1")


def test_code_that_was_changed_is_shown(handed_in):
    change_notebook(handed_in / "02_feature_map_statistics.ipynb", lambda book: book.cells[-1].update(source=book.cells[-1].source + "\nshares = 0.5"))
    hand_in = HandIn.open(str(handed_in))
    (row,) = [row for row in check_code(hand_in, "02") if row.verdict != HOLDS]
    assert row.verdict == DIFFERS and "\n+shares = 0.5" in row.shown and row.what == "02_feature_map_statistics.ipynb: its code is the project's"
    change_json(handed_in / "02_results.json", lambda found: found.update(release="0.0.9 abc"))
    assert verdicts(check_code(hand_in, "02")) == {HOLDS, OTHER_VERSION}


@pytest.mark.parametrize("source", ["SEED = 0\nimport os", "SEED = print()", "SEED = OTHER = 1", "SEED = (", "if True:\n    SEED = 1"])
def test_code_in_a_cell_of_parameters_is_found(handed_in, source):
    change_notebook(handed_in / "03_feature_map_spectra.ipynb", lambda book: next(
        cell for cell in book.cells if "injected-parameters" in cell.metadata.get("tags", [])).update(source=source))
    assert list(wrong(check_code(HandIn.open(str(handed_in)), "03"))) == ["03_feature_map_spectra.ipynb: cells of parameters hold values only"]


def test_predictions_changed_by_hand(handed_in):
    def change(table):
        table.loc[0, "predicted"] = table.loc[0, "label"]
        table.loc[0, "confidence"] = 0.99
    change_csv(handed_in / "predictions_test.csv", change)
    hand_in = HandIn.open(str(handed_in))
    assert any("row 1.confidence" in what for what in wrong(check_predictions(hand_in, "test")))
    assert "stamps.json: the files are as notebook 01 left them" in wrong(check_stamps(hand_in))


def test_weights_of_another(handed_in):
    weights = bytearray((handed_in / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (handed_in / "model.safetensors").write_bytes(weights)
    found = wrong(check_stamps(HandIn.open(str(handed_in))))
    assert len(found) == 6 and sum("the network that was measured" in what for what in found) == 3


def test_times_that_contradict_each_other(handed_in):
    assert verdicts(check_times(HandIn.open(str(handed_in)), "01")) == {HOLDS}
    change_json(handed_in / "run.json", lambda found: found.update(start=found["start"][:-5] + f"{(int(found['start'][-5:-3]) + 7) % 60:02d}" + found["start"][-3:]))
    change_json(handed_in / "01_results.json", lambda found: found.update(notebook_seconds=9999))
    change_csv(handed_in / "history.csv", lambda table: table.__setitem__("seconds", 500.0))
    found = wrong(check_times(HandIn.open(str(handed_in)), "01"))
    assert set(found) == {"01_split_and_classify.ipynb: its times", "run.json: the start is that of notebook 01", "history.csv: the seconds of the epochs"}


def test_shares_and_spectra_changed_by_hand(handed_in):
    change_json(handed_in / "02_results.json", lambda found: next(iter(found["scenarios"]["finetuned_own"].values())).update(non_positive_share=0.1))
    change_json(handed_in / "03_results.json", lambda found: next(iter(found["scenarios"]["finetuned_own"].values())).update(effective_rank=3.14159))
    change_csv(handed_in / "tables" / "effective_ranks.csv", lambda table: table.__setitem__("finetuned_own", table["finetuned_own"] * 1.01))
    hand_in = HandIn.open(str(handed_in))
    assert [told for told, _ in wrong(check_shares(hand_in)).values()] == ["0.1"]
    assert [told for told, _ in wrong(check_spectra(Features.of(hand_in))).values()] == ["3.14159"]
    found = wrong(row for row in check_spectra_tables(Features.of(hand_in)) if row.verdict != NOT_FOUND)
    assert found and all("effective_ranks" in what for what in found)


RUBBISH = [b"", b"\xff\xfe rubbish", b"{}", b'{"test": [1, NaN]}', b"[" * 100_000, b"a,b\n1,2\n"]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=range(len(RUBBISH)))
def test_whatever_is_handed_in_there_is_a_table(handed_in, rubbish, monkeypatch):
    monkeypatch.setattr("inside.many_runs.check.runs.check_report", lambda hand_in: [])
    for file in [path for path in handed_in.iterdir() if path.is_file()]:
        file.write_bytes(rubbish)
    found = check_runs([str(handed_in), str(handed_in / "nowhere")])
    assert found.status in (1, 2) and UNDECIDED in verdicts(found.rows) and len(found.table) == len(found.rows)


def test_links_that_lead_out_pickles_and_huge_files_are_not_opened(handed_in, tmp_path, monkeypatch):
    shutil.move(handed_in / "run.json", tmp_path / "run.json")
    (handed_in / "run.json").symlink_to(tmp_path / "run.json")
    with pytest.raises(ValueError, match="run.json is a link that leads out of the folder"):
        _ = HandIn.open(str(handed_in)).settings
    np.savez(handed_in / "spectra.npz", **{"a/b/features": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        Features.of(HandIn.open(str(handed_in)))
    monkeypatch.setattr("inside.many_runs.check.files.LARGEST", {".csv": 10})
    with pytest.raises(ValueError, match=r"split.csv has [\d,]+ bytes, more than the 10 that are read"):
        _ = HandIn.open(str(handed_in)).split


def test_a_page_of_more_tags_than_can_be_parsed_is_not_read(handed_in, monkeypatch):
    (handed_in / "report.html").write_text("<p>" * 21)
    (handed_in / "01_split_and_classify.ipynb").write_text(json.dumps({"cells": "<p>" * 21}).replace("<", "\\u003C"))
    monkeypatch.setattr("inside.many_runs.check.files.MOST_TAGS", 20)
    for read in (lambda hand_in: list(check_report(hand_in)), lambda hand_in: hand_in.shown("01")):
        with pytest.raises(ValueError, match="has 21 tags, more than the 20 that are read"):
            read(HandIn.open(str(handed_in)))


def test_comparison():
    assert [row.verdict for row in compared("x", {"a": [1, 2.0], "b": None}, {"a": [1, 2.0 + 1e-12], "b": float("nan")})] == [HOLDS]
    (row,) = compared("x", {"a": 1.5}, {"a": 1.5001, "b": None}, Tolerance(0, 1e-3), most=1)
    assert (row.what, row.told, row.recomputed, row.verdict) == ("x: b", "not there", "none", DIFFERS)
    assert [row.what for row in compared("x", [1, 2, 3, 4], [2, 3, 4, 5], most=2)] == ["x: [1]", "x: [2]", "x: 2 more"]
    assert compared("x", True, 1)[0].verdict == HOLDS and compared("x", "1", 1)[0].verdict == DIFFERS


def test_predictions_that_were_invented_consistently_are_found_with_the_images(handed_in, flawed):
    """Scores, results, metrics and tables tell the same story; only the weights tell another."""
    hand_in = HandIn.open(str(handed_in))
    assert verdicts(check_weights(hand_in, "test", flawed)) == {HOLDS}
    def change(table):
        scores = [name for name in table if name.startswith("prob_")]
        table[scores] = 0.02
        for row, label in enumerate(table["label"]):
            table.loc[row, f"prob_{label}"] = 0.9
        table["predicted"], table["confidence"], table["loss"] = table["label"], 0.9, -np.log(0.9)
    change_csv(handed_in / "predictions_test.csv", change)
    made, metrics = remade_scores(hand_in), remade_metrics(hand_in)
    change_json(handed_in / "01_results.json", lambda found: found.update(json.loads(json.dumps(made, default=float))))
    write_csv(handed_in / "metrics_test.csv", metrics["test"])
    assert verdicts([*check_predictions(hand_in, "test"), *check_scores(hand_in)]) == {HOLDS}
    (row,) = check_weights(hand_in, "test", flawed)
    assert row.verdict == DIFFERS and row.told == "accuracy 100.0%" and "differ by more than 0.001" in row.remark


def test_images_that_are_not_those_of_the_split(handed_in, flawed, make_folder):
    hand_in = HandIn.open(str(handed_in))
    assert verdicts(check_images(hand_in, flawed)) == {HOLDS}
    def change(table):
        table.loc[0, "path"] = "sea/invented.jpg"
        table.loc[1, "label"] = "sea"
        table.loc[2, "sha256"] = table.loc[3, "sha256"]
    change_csv(handed_in / "split.csv", change)
    found = {row.what: row.remark for row in check_images(HandIn.open(str(handed_in)), flawed) if row.verdict == DIFFERS}
    assert [told.split(":")[0] for told in found.values()] == ["1 image"] * 3 and "sea/invented.jpg" in next(iter(found.values()))
    (row,) = check_images(hand_in, make_folder({"a": 1, "b": 1}))
    assert row.verdict == UNDECIDED


def test_a_split_that_was_not_drawn_is_found_though_all_else_was_made_to_fit(handed_in):
    assert verdicts(check_draw(HandIn.open(str(handed_in)))) == {HOLDS}
    change_csv(handed_in / "split.csv", lambda table: table.__setitem__("split", table["split"].where(table.index != table.index[table["split"] == "test"][0], "train")))
    (row,) = check_draw(HandIn.open(str(handed_in)))
    assert row.verdict == DIFFERS and row.recomputed == "1 image in another part" and "is in train, drawn test" in row.remark


def test_what_another_version_would_give_is_no_accusation(handed_in):
    """The draw of the split and the tables of notebook 03 can differ between versions of the project."""
    for number in ("01", "03"):
        change_json(handed_in / f"{number}_results.json", lambda found: found.update(release="another"))
    change_csv(handed_in / "split.csv", lambda table: table.__setitem__("split", table["split"].where(table.index != table.index[table["split"] == "test"][0], "train")))
    change_csv(handed_in / "tables" / "certainty.csv", lambda table: table.drop(columns=["ratio low", "ratio high"], inplace=True))
    hand_in = HandIn.open(str(handed_in))
    assert verdicts(check_draw(hand_in)) == {OTHER_VERSION}
    assert verdicts(check_spectra_tables(Features.of(hand_in))) - {NOT_FOUND} == {HOLDS, OTHER_VERSION}


def test_parts_that_the_data_set_gives():
    assert given_parts(pd.Series(["train/a/1.png", "VAL/a/1.png"])) == ["train", "val"]
    assert given_parts(pd.Series(["a/1.png", "b/1.png"])) == given_parts(pd.Series(["train/1.png", "test/1.png"])) == ["", ""]
    assert given_parts(pd.Series(["train/a/1.png", "train/a/2.png"])) == ["", ""]


def test_what_was_handed_in_twice(handed_in, tmp_path):
    shutil.copytree(handed_in, tmp_path / "ben")
    ours, theirs = (HandIn.open(str(tmp_path / name)) for name in ("anna", "ben"))
    rows = list(check_copies([ours, theirs]))
    assert [row.verdict for row in rows] == [DIFFERS, DIFFERS] and rows[0].run == str(handed_in) and f"the same as in {theirs.name}" in rows[0].remark
    for name in ("01_split_and_classify.ipynb", "02_feature_map_statistics.ipynb", "03_feature_map_spectra.ipynb"):
        change_notebook(tmp_path / "ben" / name, lambda book: [cell.metadata.pop("papermill", None) for cell in book.cells])
    theirs = HandIn.open(str(tmp_path / "ben"))
    assert [row.verdict for row in check_copies([ours, theirs])] == [UNDECIDED] * 2  # executed again, or made to look so
    change_json(tmp_path / "ben" / "run.json", lambda found: found["parameters"].update(EPOCHS=7))
    assert [row.verdict for row in check_copies([ours, HandIn.open(str(tmp_path / "ben"))])] == [DIFFERS] * 2
    (tmp_path / "ben" / "model.safetensors").write_bytes(b"other")
    (row, _) = check_copies([ours, theirs])
    assert row.told == "predictions"
    change_notebook(tmp_path / "ben" / "01_split_and_classify.ipynb", lambda book: book.cells[1].metadata.update(papermill=None))
    (tmp_path / "ben" / "run.json").unlink()
    change_notebook(tmp_path / "ben" / "02_feature_map_statistics.ipynb", lambda book: [
        cell.update(source="X = (") for cell in book.cells if "parameters" in cell.metadata.get("tags", [])])
    assert [row.told for row in check_copies([ours, HandIn.open(str(tmp_path / "ben"))])] == ["predictions"] * 2  # nothing raises


def test_against_expected_values(handed_in, tmp_path):
    told = json.loads((handed_in / "01_results.json").read_text())["test"]["mean_class_accuracy"]
    (tmp_path / "expected.yaml").write_text(
        f"test.mean_class_accuracy: {{value: {told + 0.04}, within: 0.05}}\nparameters.EPOCHS: 3\n01.architecture: timm/test_resnet\nno.such: 1\n"
        "03.scenarios.finetuned_own.conv1.effective_rank: {value: 0.5, within: 0.1}\nper_class: 1\n")
    rows = list(read_reference(str(tmp_path / "expected.yaml"))(HandIn.open(str(handed_in))))
    assert [row.verdict for row in rows] == [HOLDS, DIFFERS, HOLDS, UNDECIDED, DIFFERS, UNDECIDED]
    assert rows[0].recomputed and rows[0].expected.endswith("± 0.05") and "as told" in rows[1].remark and rows[4].recomputed == rows[4].told
    change_json(handed_in / "01_results.json", lambda found: found["test"].update(mean_class_accuracy=told + 0.5))
    assert next(iter(read_reference(str(tmp_path / "expected.yaml"))(HandIn.open(str(handed_in))))).verdict == HOLDS  # by what is recomputed


@pytest.mark.parametrize("text, problem", [("", "holds no expected values"), ("a: {within: 1}", "takes a value"), ("a: {value: 1, within: -1}", "takes a value"),
                                           ("a: {value: 1, with: 1}", "takes a value"), ("a: !!python/object:os.system x", "cannot be read")])
def test_expected_values_that_are_none(tmp_path, text, problem):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=problem):
        read_reference(str(tmp_path / "x.yaml"))


def test_against_a_run(handed_in, looked):
    check = read_reference(str(looked[0]))
    assert verdicts(check(HandIn.open(str(handed_in)))) == {HOLDS}
    change_json(handed_in / "run.json", lambda found: found["parameters"].update(EPOCHS=7, DEVICE="cpu"))
    change_csv(handed_in / "split.csv", lambda table: table.__setitem__("sha256", table["sha256"].str.upper()))
    change_csv(handed_in / "predictions_test.csv", lambda table: table.__setitem__("predicted", table["label"]))
    found = {row.what: row.told or row.recomputed for row in check(HandIn.open(str(handed_in))) if row.verdict != HOLDS}
    assert found.keys() == {"expected: parameters: EPOCHS", "expected: the split of the reference", "expected: mean class accuracy on test"}


def test_names_that_are_hostile(handed_in, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("inside.many_runs.check.runs.check_report", lambda hand_in: [])
    folder = handed_in.rename(tmp_path / "<img src=x onerror=alert(1)>\x1b[2Jx")
    change_csv(folder / "split.csv", lambda table: table.__setitem__("path", "<script>alert(1)</script>\x1b[31m/" + table["path"]))
    assert main(["check", str(folder), "--out", str(tmp_path / "out" / "told.csv")]) == 1
    told, page = capsys.readouterr().out, (tmp_path / "out" / "told.html").read_text()
    assert "\x1b" not in told and "\\x1b" in told and "<script" not in page and "<img" not in page and "&lt;script" in page
    assert outside_requests(page) == [] and "default-src 'none'" in page and len(pd.read_csv(tmp_path / "out" / "told.csv")) > 40


def test_what_is_not_there_is_told_in_one_sentence(tmp_path, capsys, monkeypatch):
    for words, told in ((["--images", "nowhere"], "There is no folder nowhere"), (["--against", "x.yaml"], "There is no file 'x.yaml'"), (["--against", "no-run"], "There is no run folder")):
        assert main(["check", str(tmp_path), *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and told in error and error.count("\n") == 1
    (tmp_path / "anna").mkdir()
    monkeypatch.chdir(tmp_path)
    assert HandIn.open("anna/").name == "anna" and HandIn.open("anna/").folder.samefile(tmp_path / "anna")  # as a shell completes it
    assert main(["check", str(tmp_path / "nowhere")]) == 2 and "cannot be checked" in capsys.readouterr().out
