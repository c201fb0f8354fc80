"""run.py, notebook 01 through papermill on a tiny set, the report, and the structure of the notebooks."""

import ast
import errno
import json
import re
import shutil

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
import torch
from papermill.exceptions import PapermillExecutionError
from PIL import Image

from inside.cli import run as run_module
from inside.cli.estimate import count_images, estimate
from inside.cli.main import main
from inside.cli.profiles import NOTEBOOKS, PROFILES, default_parameters, notebook_parameters, read_profile
from inside.data.sources import open_dataset
from inside.feature_maps.scenarios import open_scenarios, other_images
from inside.files import RunFolder, atomic_write, write_json
from inside.report.page import export_report, outside_requests
from inside.settings import check_parameters, name_problems
from shared.effects import EFFECTS
from shared.kernels import forked_kernels  # noqa: F401
from shared.whole_runs import INSIDE, TINY, arguments, inside, model_of, results

BOOKS = sorted(NOTEBOOKS.glob("*.ipynb"))


def test_all_files_of_the_contract_are_there(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"split.csv", "bad_images.csv", "duplicates.csv", "trials.csv", "history.csv", "model.safetensors", "model.json",
            "predictions_val.csv", "predictions_test.csv", "metrics_val.csv", "metrics_test.csv", "figures", "tables",
            "01_split_and_classify.ipynb", "01_results.json", "report.html", "run.log", "run.json"} <= names
    made = json.loads((finished / "run.json").read_text())
    assert made["command"].startswith("python run.py demo --only 01 -p RUN ") and made["parameters"]["EPOCHS"] == 2
    assert "torch" in made["versions"] and re.match(r"\d{4}-\d\d-\d\d", made["start"]) and made["command"][:30] in (finished / "report.html").read_text()
    assert "checkpoint.pt" not in names and [name for name in names if name.startswith(".")] == [".locks"]
    assert list(pd.read_csv(finished / "bad_images.csv")) == ["path", "reason"]
    assert list(pd.read_csv(finished / "duplicates.csv")) == ["group", "path", "label", "split", "conflicting"]
    assert list(pd.read_csv(finished / "near_duplicates.csv")) == ["group", "path", "other_path", "distance", "cosine", "correlation", "mirrored",
                                                                   "label", "other_label", "split", "other_split", "conflicting"]
    assert list(pd.read_csv(finished / "suspected_labels.csv")) == ["path", "split", "label", "suggested", "quality", "reason"]
    assert list(pd.read_csv(finished / "trials.csv"))[:4] == ["number", "state", "score", "seconds"]
    assert list(pd.read_csv(finished / "predictions_test.csv"))[:6] == [
        "path", "label", "predicted", "confidence", "loss", "prob_buildings"]


def test_results_agree_with_the_files(finished):
    found = results(finished)
    split, metrics = pd.read_csv(finished / "split.csv"), pd.read_csv(finished / "metrics_test.csv").set_index("class")
    predictions = pd.read_csv(finished / "predictions_test.csv")
    assert found["n_images"] == 122 and found["n_bad"] == 1 and found["leaks"] == {"path": 0, "content": 0, "near": 0}
    assert found["duplicate_groups"] == 2 and found["conflicting_groups"] == 1
    assert found["split"] == split["split"].value_counts().to_dict() and sum(found["split"].values()) == 122
    assert found["test"]["accuracy"] == pytest.approx((predictions["label"] == predictions["predicted"]).mean())
    assert found["test"]["mean_average_precision"] == pytest.approx(metrics.iloc[-1]["average_precision"])
    assert found["reproduced"]["checked"] == found["split"]["test"] and found["reproduced"]["max_difference"] <= 1e-4
    history = pd.read_csv(finished / "history.csv")
    assert found["epochs"] == len(history) == 2 and history[["train_loss", "val_loss", "train_objective"]].notna().all(axis=None)
    scored = model_of(finished)["train_unaugmented"]
    assert scored["images"] == scored["of"] == found["split"]["train"]
    assert f"without augmentation: cross-entropy {scored['loss']:.3f}, mean class accuracy" in (finished / "report.html").read_text()
    assert found["val"]["mean_class_accuracy"] == pytest.approx(history["val_mean_class_accuracy"].max())
    calibration, told = found["calibration"], pd.read_csv(finished / "tables" / "calibration.csv")
    assert calibration["as_trained"]["accuracy"] == pytest.approx(found["test"]["accuracy"])
    assert calibration["as_trained"]["negative_log_likelihood"] == pytest.approx(predictions["loss"].mean())
    assert calibration["temperature"] == model_of(finished)["temperature"] and told["Brier score"][0] == calibration["as_trained"]["brier_score"]


def test_conflicting_labels_are_shown(finished):
    duplicates = pd.read_csv(finished / "duplicates.csv")
    assert set(duplicates[duplicates["conflicting"]]["path"]) == {"buildings/wrong.jpg", "street/00002.jpg"}
    suspects = pd.read_csv(finished / "suspected_labels.csv")
    assert {"buildings/wrong.jpg", "street/00002.jpg"} == set(suspects.loc[suspects["reason"] == "conflict", "path"]) == set(suspects["path"][:2])
    told, split = results(finished)["suspected_labels"], pd.read_csv(finished / "split.csv", keep_default_na=False).set_index("path")["split"]
    assert told["suspects"] == len(suspects) and suspects["split"].tolist() == split[suspects["path"]].tolist()
    assert told["test"]["all"]["images"] - told["test"]["without_suspects"]["images"] == (suspects["split"] == "test").sum()
    with np.load(finished / "train_features.npz") as kept:
        assert len(kept["paths"]) == len(kept["features"]) == results(finished)["split"]["train"] and kept["features"].dtype == np.float16
    assert (finished / "figures" / "label_conflicts.png").exists()
    assert "buildings/wrong.jpg" in (finished / "report.html").read_text()


def test_a_second_call_uses_what_is_finished(finished, flawed, tmp_path, capsys):
    assert "\ntrial " in (finished / "run.log").read_text()  # so would a trial that is run again be told
    folder = tmp_path / "a copy"
    shutil.copytree(finished, folder)
    stamps = {name: (folder / name).stat().st_mtime_ns for name in ("model.safetensors", "model.json", "predictions_test.csv", "history.csv")}
    assert main(arguments(folder, flawed)) == 0
    told = capsys.readouterr().out
    assert "is used again" in told
    assert told.strip().splitlines()[-1] == f"report: {folder / 'report.html'}"
    assert stamps == {name: (folder / name).stat().st_mtime_ns for name in stamps}
    assert results(finished)["test"] == results(folder)["test"] and "\ntrial " not in told  # nor was anything searched again


def test_every_parameter_is_tried():
    tried = {name for changes, _ in EFFECTS for name in changes} | set(TINY) | set(INSIDE)
    elsewhere = {"RUN", "DATASET", "TRAIN", "DEMO_IMAGES", "BAD_IMAGES"}  # by tests of their own
    assert {name for book in BOOKS for name in notebook_parameters(book)} == tried | elsewhere


def check_stages(folder, third):
    """What 03_results.json, table and figure tell of the stages of the network."""
    stages, table = third["stages"], pd.read_csv(folder / "tables" / "stages.csv")
    assert third["stages_reason"] is None and (folder / "figures" / "stages.png").exists() and (stages["start"], stages["image_size"]) == ("random", 32)
    parts = results(folder)["split"]
    assert stages["images"]["train"] == parts["train"] and stages["images"]["val"] == parts["val"] >= stages["images"]["val_distinct"]
    assert table["stage"].tolist() == 3 * stages["names"] and len(stages["names"]) > 3 and stages["frozen"] == []
    for name, rows in table.groupby("network"):
        entries = stages["networks"][name]
        assert rows["effective_rank"].tolist() == pytest.approx([entries[stage]["effective_rank"] for stage in stages["names"]])
        assert name != "fine-tuned" or all(entries[stage]["weight_change"] > 0 for stage in stages["names"])
    assert "layer by layer" in (folder / "report.html").read_text()


def test_02_and_03_hold_their_contracts(looked):
    folder, layers = looked
    second, third = (json.loads((folder / f"0{number}_results.json").read_text()) for number in (2, 3))
    names = {"finetuned_own", "imagenet_photo_patches", "imagenet_digits", "random_own", "imagenet_own"}
    missing = {"imagenet_imagenet", "imagenet_cifar10"}
    for found in (second, third):
        assert missing <= set(found["missing"]) and all(found["scenarios"][name] is None for name in found["missing"])
        assert {name for name, value in found["scenarios"].items() if value} | set(found["missing"]) == names | missing
    assert second["layers"] == layers and set(second["hook_audit"]["layers"]) == set(layers)
    assert (second["as_it_is"], second["objects"], second["objects_reason"]) == (None, None, 'DETECTOR is ""') and second["as_it_is_reason"]
    check_stages(folder, third)
    maps = pd.read_csv(folder / "feature_maps.csv")
    assert list(maps) == ["scenario", "layer", "draw", "channels", "images", "values", "non_positive", "non_positive_share"]
    assert set(maps["images"]) == {14} and maps.groupby("scenario")["draw"].max().to_dict() == {
        name: 2 if name == "random_own" else 1 for name in set(maps["scenario"])}
    with np.load(folder / "spectra.npz") as stored:
        for name, by_layer in third["scenarios"].items():
            for layer, entry in (by_layer or {}).items():
                features, values = stored[f"{name}/{layer}/features"], stored[f"{name}/{layer}/eigenvalues"]
                assert features.dtype == np.float32 and np.allclose(features.mean(0, dtype=float), stored[f"{name}/{layer}/mean"], rtol=1e-5, atol=1e-6)
                covariance = np.cov(features.T.astype(float), bias=True)
                assert len(values) == min(9, entry["rank_bound"]) and entry["rank_bound"] == min(entry["channels"], 13)
                wanted = np.linalg.eigvalsh(covariance)[::-1][:len(values)]
                assert np.allclose(values, wanted.clip(min=0), rtol=1e-4, atol=1e-6 * wanted[0])
                assert np.isclose(entry["trace"], np.trace(covariance), rtol=1e-5) and entry["eigenvalues"] == values[:10].tolist()


def test_explanations_hold_their_contract(looked):
    folder, layers = looked
    found = json.loads((folder / "02_results.json").read_text())["explanations"]
    assert found["class_activation_map"]["method"] == "Grad-CAM"  # at 32 pixels the last map has one position only
    assert found["occlusion"]["images"] == 5
    checked = found["randomisation"]
    assert [name.split(" (")[0] for name in checked] == ["class activation map", "guided backpropagation", "gradient"]
    assert all(entry["down_to"]["nothing"] == 1 and len(entry["down_to"]) > 3 and entry["images"] == 3 for entry in checked.values())
    means = pd.read_csv(folder / "tables" / "randomisation_means.csv", keep_default_na=False)
    for method, rows in means.groupby("method"):
        assert rows["|ρ|"].tolist() == pytest.approx(list(checked[method]["down_to"].values())) and set(rows["threshold"]) == {checked[method]["threshold"]}
        assert "only 3 of 3 images" in checked[method]["no_verdict"] and rows["verdict"].tolist() == ["", *["no verdict"] * (len(rows) - 1)]
    table = pd.read_csv(folder / "tables" / "occlusion.csv")
    assert len(table) == 5 and found["occlusion"]["drop"]["hottest tenth"]["mean"] == pytest.approx(table["hottest tenth"].mean())
    predictions = pd.read_csv(folder / "predictions_test.csv").set_index("path")
    assert np.allclose(predictions.loc[table["path"], "confidence"], table["confidence"], atol=1e-4)  # those of notebook 01
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert {"first_layer", "guided_backprop", "class_activation_maps", "class_activation_maps_wrong",
            "randomised_maps", "randomisation", "occlusion"} <= names
    page = (folder / "report.html").read_text()
    assert "2 channels of" in page and "NEURONS" in page
    assert "at 32×32 pixels, the size at which this network was trained and tested; the feature maps above are measured at 64×64" in page
    assert not re.search(r"first 64|[Tt]en neurons|about 20 s", page)  # numbers of the run, not of the prose


def test_the_report_holds_all_three(looked):
    page = (looked[0] / "report.html").read_text()
    assert [page.count(f'href="#{number}-') > 3 for number in ("01", "02", "03")] == [True] * 3
    assert outside_requests(page) == [] and "$$" not in page
    assert all(len(alt) > 25 and "**" not in alt for alt in re.findall(r'<img\b[^>]*alt="([^"]*)"', page))
    assert len(re.findall("<img", page)) == len(re.findall(r'<img\b[^>]*alt="', page))


def test_all_scenarios_have_as_many_images_as_the_smallest_set(flawed, tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    own = other_images(str(flawed), 50)
    assert len(own.table) == 50 and list(own.table["path"]) == sorted(own.table["path"])
    scenarios, _ = open_scenarios(run, own, architecture="efficientnet_lite0", n_images=50, cifar10="digits",
                                               imagenet_val=str(flawed / "sea"), device=torch.device("cpu"))
    assert {len(scenario.images.table) for scenario in scenarios.values()} == {20}


@pytest.mark.parametrize("changes, message", [
    ({"LAYERS": "['stages.7.conv']"}, "no module named 'stages.7.conv'"), ({"NEURON_LAYER": "conv9"}, "no module named 'conv9'"),
    ({"NEURON_LAYER": "conv1", "NEURONS": "[99999]"}, "no channel 99999")])
def test_a_layer_or_a_channel_that_does_not_exist_stops(looked, flawed, capfd, changes, message):
    folder, layers = looked
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main(inside(folder, flawed, "02", **INSIDE | {"LAYERS": str(layers)} | changes)) == 2
    assert message in capfd.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_bad_images_stop_when_asked_and_the_notebook_up_to_there_is_kept(flawed, tmp_path, capfd):
    folder = tmp_path / "run"
    assert main(arguments(folder, flawed, BAD_IMAGES="stop")) == 1
    told = capfd.readouterr().err
    assert "1 of 123 images cannot be decoded, the first is sea/broken.jpg" in told
    assert (folder / "01_split_and_classify.failed.ipynb").exists() and not (folder / "01_split_and_classify.ipynb").exists() and str(folder) in told
    assert not (folder / "01_results.json").exists() and not (folder / "report.html").exists()
    page = (folder / "report.failed.html").read_text()
    assert str(folder / "report.failed.html") in told and "1 of 123 images cannot be decoded" in page.split("</header>")[0]
    assert outside_requests(page) == [] and "The split into" not in page.split('<details class="contents">')[1]  # up to there


def test_demo_images(monkeypatch, tmp_path):
    source = open_dataset("demo", demo_images=66, seed=2, data=tmp_path)
    assert len(source.table) == 66 and source.drawn and "drawings, not photographs" in source.about


@pytest.mark.parametrize("words, message", [
    (["-p", "EPOCH", "3"], "No notebook has a parameter 'EPOCH': did you mean 'EPOCHS'"),
    (["-p", "EPOCHS", "many"], "EPOCHS = 'many' is not valid: it takes a whole number from 1 to 10000"),
    (["-p", "EPOCHS", "0"], "EPOCHS = 0 is not valid"),
    (["-p", "TRAIN", "1"], "TRAIN = 1 is not valid: it takes True or False"),
    (["-p", "SPLIT", "[1, 2]"], "SPLIT = \\[1, 2\\] is not valid"),
    (["-p", "ARCHITECTURE", "resnet500"], "did you mean 'resnet50'"),
    (["-p", "SEARCH_SPACE", "{'lr': [0.1, 0.01]}"], "range lr = \\[0.1, 0.01\\] is empty"),
    (["-p", "ARCHITECTURE_OPTIONS", "{'filters': 3}"], "has no option 'filters'"),
    (["-p", "COMPARE", "[{'STRATEGY': 'all'}]"], "STRATEGY = 'all' is not valid"),
    (["-p", "STUDY_STORAGE", "sqlite:///a.db"], "SQLite breaks"),
    (["-p", "SEARCH_TRIALS", "0", "--search"], "nothing to search"),
    (["--only", "07"], "no such notebook; choose from 01"),
])
def test_wrong_parameters_stop_before_anything_runs(tmp_path, capsys, words, message):
    assert main(["demo", "-p", "RUN", str(tmp_path / "run"), *words]) == 2
    assert re.search(message, capsys.readouterr().err) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("device", [name for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if not there])
def test_a_device_that_is_absent_is_refused(tmp_path, capsys, device):
    assert main(["demo", "-p", "RUN", str(tmp_path / "run"), "-p", "DEVICE", device]) == 2
    assert f"DEVICE = '{device}' is not available here" in capsys.readouterr().err and not list((tmp_path / "run").glob("*.ipynb"))


def test_unknown_profile(capsys):
    assert main(["dmeo"]) == 2
    assert "did you mean 'demo'" in capsys.readouterr().err


@pytest.mark.parametrize("profile", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_profiles_are_legal_and_run_without_a_screen(profile):
    given = read_profile(str(profile))
    assert name_problems(given) == []
    check_parameters(given)
    assert given["INTERACTIVE"] is False


def test_results_of_an_earlier_version_do_not_hide_why_a_notebook_failed(monkeypatch, tmp_path, capsys):
    def old(notebooks, target):
        raise KeyError("verdict")

    def fails(*arguments):
        raise run_module.NotebookFailed("a cell of the notebook failed: ZeroDivisionError: by zero")
    monkeypatch.setattr(run_module, "export_report", old)
    monkeypatch.setattr(run_module, "execute", lambda *arguments: None)
    monkeypatch.setattr(run_module, "estimate", lambda *arguments: "time: unknown")
    words = ["demo", "-p", "RUN", str(tmp_path / "run"), "--only", "02"]
    assert main(words) == 2 and "are of an earlier version, without 'verdict': run all three notebooks again" in capsys.readouterr().err
    monkeypatch.setattr(run_module, "execute", fails)
    assert main(words) == 1
    told = capsys.readouterr().err
    assert "ZeroDivisionError: by zero" in told and "report up to there: none, the results in" in told


@pytest.mark.parametrize("answers, reason", [(True, "the kernel of the notebook died, as when memory runs out"),
                                             (False, r"the kernel of the notebook did not start \(no answer in 600 s\): the same command tries again")])
def test_a_kernel_that_dies_or_does_not_answer_is_a_failed_notebook_and_the_last_good_one_stays(monkeypatch, tmp_path, answers, reason):
    async def wait(client, timeout):
        raise RuntimeError(f"no answer in {timeout} s")
    book, folder = tmp_path / "01_{a}.ipynb", tmp_path / "run {b}"
    cells = [nbformat.v4.new_code_cell("RUN = ''", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell("import os\nos.kill(os.getpid(), 9)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), book)
    folder.mkdir()
    (folder / book.name).write_text("the last good one")
    if not answers:
        monkeypatch.setattr("jupyter_client.asynchronous.client.AsyncKernelClient.wait_for_ready", wait)
    with pytest.raises(run_module.NotebookFailed, match=reason) as raised:
        run_module.execute(book, folder, {}, run_module.Log(open(folder / "run.log", "a")))
    assert str(folder / "01_{a}.failed.ipynb") in str(raised.value) and (folder / book.name).read_text() == "the last good one"
    assert sorted(path.name for path in folder.iterdir()) == ["01_{a}.failed.ipynb", "01_{a}.ipynb", "run.log"]


def test_a_full_disk_while_papermill_or_the_log_writes_is_one_sentence(monkeypatch, tmp_path, capsys):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(run_module, "estimate", lambda *arguments: "time: unknown")
    monkeypatch.setattr(run_module, "execute", full)
    assert main(["demo", "-p", "RUN", str(tmp_path / "run"), "--only", "02"]) == 1
    told = capsys.readouterr().err.strip()
    assert told == f"error: {tmp_path / 'run' / 'run.log'} was not written, because the disk is full: make room, and the same command goes on from there."


def test_a_full_disk_ends_a_helper_of_the_search_with_one_sentence(monkeypatch, tmp_path, capsys):
    def full(settings):
        with atomic_write(tmp_path / "features.pt"):
            raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(run_module, "help_search", full)
    assert main(["demo", "-p", "RUN", str(tmp_path / "run"), "-p", "SEARCH_TRIALS", "2", "--search"]) == 1
    assert capsys.readouterr().err == (f"error: {tmp_path / 'features.pt'} was not written, because the disk is full: make room, and the "
                                       "same command goes on from there.\n")


def test_estimate_tells_a_time():
    settings = default_parameters() | {"ARCHITECTURE": TINY["ARCHITECTURE"], "IMAGE_SIZE": 32}
    assert re.search(r"about (\d+ min )?\d+ s for notebooks 01, 02 \(900 images, 5 epochs at \d+", estimate(settings, ["01", "02"]))
    assert count_images(settings | {"DATASET": "intel"}) == 17034


@pytest.mark.parametrize("book", [BOOKS[0], *(pytest.param(book, marks=pytest.mark.soak) for book in BOOKS[1:])], ids=lambda path: path.stem)
def test_plain_papermill_stops_at_an_unknown_name(book, tmp_path):
    with pytest.raises(PapermillExecutionError, match="No notebook has a parameter 'EPOCS': did you mean 'EPOCHS'"):
        papermill.execute_notebook(book, tmp_path / "out.ipynb", {"RUN": str(tmp_path / "run"), "EPOCS": 3}, progress_bar=False)
    assert not (tmp_path / "run").exists()


def test_the_report_loads_nothing_and_shows_all_pictures(finished):
    page = (finished / "report.html").read_text()
    assert outside_requests(page) == [] and "<script" not in page
    pictures = re.findall(r"<img\b[^>]*>", page)
    thumbnails = re.findall(r'<a href="#(figure-[^"]*)"><img', page)
    assert thumbnails == ["figure-confusion"] and len(pictures) - 1 == len(list((finished / "figures").glob("*.png"))) > 8
    for picture in pictures:
        alt = re.search(r'alt="([^"]*)"', picture)
        assert alt and len(alt[1]) > 25, picture[:80]
    assert page.count("<details") > 20 and "<math" in page and "$$" not in page
    assert len(set(re.findall(r'<h[1-5] id="([^"]*)"', page))) == len(re.findall(r"<h[1-5] id=", page)) > 15
    for target in page.split('href="#')[1:]:
        assert f'id="{target.split(chr(34))[0]}"' in page


@pytest.mark.parametrize("page, found", [
    ('<script src="https://x.org/a.js"></script>', True), ("<script>1</script>", True), ('<link href=style.css rel="stylesheet">', True),
    ('<img src="https://x.org/a.png">', True), ("<style>@import 'x.css'</style>", True), ("<style>a{background:url(x.png)}</style>", True),
    ('<a href="https://x.org">text</a>', False), ('<img src="data:image/png;base64,AAAA">', False), ('<a href="#top">up</a>', False)])
def test_outside_requests_are_seen(page, found):
    assert bool(outside_requests(page)) is found


def test_figures_are_not_empty(finished):
    for path in (finished / "figures").glob("*.png"):
        pixels = np.asarray(Image.open(path).convert("L"))
        assert pixels.std() > 5 and min(pixels.shape) > 150, path.name


def test_a_drawn_set_is_called_drawn(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    write_json(folder / "01_results.json", results(folder) | {"drawn": True})
    export_report([folder / BOOKS[0].name], folder / "report.html")
    assert "<b>drawn</b>" in (folder / "report.html").read_text()
    assert "<b>drawn</b>" not in (finished / "report.html").read_text()


# by notebook: cells, cells with a branch of their own, lines of a cell but the parameters, median of lines; at most
LIMITS = {"01": (56, 4, 20, 5), "02": (45, 5, 20, 5), "03": (35, 3, 20, 5)}


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_structure_of_the_notebooks(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert book.metadata.kernelspec.name == "python3"
    assert book.cells[0].cell_type == "markdown" and book.cells[0].source.startswith(f"# {path.stem[:2]} · ")
    assert not any(cell.outputs or cell.execution_count for cell in code)
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    lines = [line for line in tagged[0].source.splitlines() if not line.startswith("#")]
    for line, node in zip(lines, ast.parse(tagged[0].source).body, strict=True):
        assert isinstance(node, ast.Assign) and node.targets[0].id.isupper() and "#" in line
        json.dumps(ast.literal_eval(node.value))
    for cell in code:
        tree = ast.parse(cell.source)
        assert not any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.walk(tree))
        assert "sys.path" not in cell.source and "%" not in cell.source.split(" ")[0]
    lengths = [len(cell.source.splitlines()) for cell in code if cell not in tagged]
    guarded = [cell for cell in code if any(isinstance(node, (ast.If, ast.Try)) for node in ast.parse(cell.source).body)]
    assert all(value <= limit for value, limit in zip(
        (len(book.cells), len(guarded), max(lengths), np.median(lengths)), LIMITS[path.stem[:2]], strict=True))


TASKS = {"01": ["The images", "Near duplicates", "Suspected label errors", "split into train, validation and test", "proof that the three are disjoint", "network and its loaders", "Fine-tuning",
                "Accuracy and average precision of each class", "Validation", "Test, once", "Confusion matrix", "The costliest errors", "Can its confidence be believed?", "ten highest and the ten lowest ranked", "Takeaways",
                "Browse", "Appendix A", "Appendix B", "Appendix C", "Appendix D", "Exercises"],
         "02": ["Part A · The share of non-positive values in five feature maps", "Scenarios", "walk through the network", "Hooks, and their audit",
                "share of non-positive values, counted", "By channel", "By class", "Takeaways of part A", "Part B · What the network looks at",
                "first layer", "Neurons, by guided backpropagation", "Class activation maps, of right and of wrong", "Do the explanations hold?",
                "Random weights", "Hiding", "Takeaways of part B", "Browse", "Appendix A", "Exercises"],
         "03": ["networks and data sets", "Spatial means, and their covariance over channels, in minibatches",
                "top-k eigenvalues, plotted and compared between networks and data sets", "How uncertain are these estimates?", "between networks", "between data sets",
                "layer by layer", "Takeaways", "Browse", "Exercises"]}


def test_the_takeaways_of_01_come_before_its_appendices():
    starts = [cell.source.split("\n")[0] for cell in nbformat.read(BOOKS[0], as_version=4).cells]
    assert starts.index("## Takeaways") <= 42 and not any(
        start.startswith("#") and "search" in start for start in starts[:starts.index("## Takeaways")])


@pytest.mark.parametrize("number", TASKS)
def test_the_headings_tell_the_task(number):
    (path,) = (path for path in BOOKS if path.stem.startswith(number))
    told = [line for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
            for line in cell.source.splitlines() if re.match("##+ ", line)]
    for words in TASKS[number]:  # in this order
        place = next((place for place, line in enumerate(told) if words in line), None)
        assert place is not None, words
        told = told[place + 1:]
