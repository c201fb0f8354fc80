"""make soak: whole runs in other ways than the one that `make test` has: with parts left out, helped, without run.py, after a failure."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd

from inside.cli.main import main
from inside.cli.profiles import NOTEBOOKS, PROFILES
from shared.kernels import forked_kernels  # noqa: F401
from shared.whole_runs import INSIDE, TINY, arguments, inside, results


def test_train_false_evaluates_and_refuses_another_split(finished, flawed, tmp_path, capfd):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    assert main(arguments(folder, flawed, TRAIN="false", EPOCHS=9, ARCHITECTURE="resnet18")) == 0
    assert results(folder)["test"] == results(finished)["test"] and results(folder)["architecture"] == TINY["ARCHITECTURE"]
    assert main(arguments(folder, flawed, TRAIN="false", SEED=1)) == 1
    told = capfd.readouterr().err
    assert "was trained on a different split" in told and str(folder / "01_split_and_classify.failed.ipynb") in told


def test_explanations_that_are_not_asked_for(looked, flawed, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(looked[0], folder)
    less = INSIDE | {"LAYERS": str(looked[1]), "RANDOMISED_IMAGES": 0, "OCCLUDED_IMAGES": 0, "NEURON_LAYER": looked[1][0], "NEURONS": "[]"}
    assert main(inside(folder, flawed, "02", **less)) == 0
    found = json.loads((folder / "02_results.json").read_text())["explanations"]
    assert found["randomisation"] is None and found["occlusion"] is None and found["class_activation_map"]
    assert f"channels of {looked[1][0]}, one row each" in (folder / "report.html").read_text()


def test_statistics_are_measured_once_for_both_notebooks(looked, flawed, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(looked[0], folder)
    files = {path.name: path.stat().st_mtime_ns for path in (folder / "statistics").iterdir()}
    assert main(inside(folder, flawed, "03", **INSIDE | {"LAYERS": str(looked[1])})) == 0
    assert files == {path.name: path.stat().st_mtime_ns for path in (folder / "statistics").iterdir()}


def test_without_01_and_with_images_that_are_not_there(flawed, tmp_path, monkeypatch):
    """No fine-tuned network, ImageNet weights that come as a package, CIFAR-10 without a network connection."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    folder = tmp_path / "run"
    changes = INSIDE | {"LAYERS": "[]", "ARCHITECTURE": "efficientnet_lite0", "CIFAR10": "cifar10",
                        "IMAGENET_VAL": str(flawed / "sea"), "RESOLUTION_CONTROL": "true", "SEED": 2, "DEVICE": "cpu"}
    assert main(inside(folder, flawed, "02", "03", **changes)) == 0
    second = json.loads((folder / "02_results.json").read_text())
    pretrained, layers = second["as_it_is"], second["scenarios"]["imagenet_own"].values()
    assert {sum(row["images"] for row in pretrained["most_frequent"].values())} == {layer["images"] for layer in layers}
    assert pretrained["preprocessing"]["resize"] == 256
    assert pretrained["accuracy"] is None and "WordNet" in pretrained["accuracy_reason"] and (folder / "figures" / "as_it_is.png").exists()
    found = json.loads((folder / "03_results.json").read_text())
    assert found["stages"] is None and "notebook 01" in found["stages_reason"]
    assert "run notebook 01" in found["missing"]["finetuned_own"] and "CIFAR10 is not on this machine" in found["missing"]["imagenet_cifar10"]
    assert {name for name, value in found["scenarios"].items() if value} == {
        "imagenet_own", "imagenet_imagenet", "random_own", "imagenet_own_32px", "imagenet_imagenet_32px"}
    assert len(found["scenarios"]["imagenet_own"]) == 5
    assert len({entry["images"] for by_layer in found["scenarios"].values() for entry in (by_layer or {}).values()}) == 1
    with np.load(folder / "statistics" / "imagenet_own.npz") as sharp, np.load(folder / "statistics" / "imagenet_own_32px.npz") as blurred:
        assert not any(np.allclose(sharp[name], blurred[name]) for name in sharp if name.endswith("features"))


def test_a_process_that_helps_with_the_search(flawed, tmp_path, capsys):
    """--search works on the very study that notebook 01 then finds finished."""
    folder = tmp_path / "run"
    assert main([*arguments(folder, flawed, SEARCH_TRIALS=3, SPLIT_SEED=2), "--search"]) == 0
    assert "all 3 trials have finished" in capsys.readouterr().out and not (folder / "01_results.json").exists()
    assert main(arguments(folder, flawed, SEARCH_TRIALS=3, FINAL_SEEDS=0, SPLIT_SEED=2)) == 0
    assert "\ntrial " not in capsys.readouterr().out and results(folder)["search"]["trials"] == 3  # none was run again
    assert len(pd.read_csv(folder / "trials.csv")) == 3


def test_plain_papermill_works(flawed, tmp_path):
    command = [sys.executable, "-m", "papermill", str(min(NOTEBOOKS.glob("*.ipynb"))), str(tmp_path / "out.ipynb"), "-f", str(PROFILES / "demo.yaml"),
               "-p", "RUN", str(tmp_path / "run"), "-p", "DATASET", str(flawed)]
    for name, value in (TINY | {"EPOCHS": "1", "SEARCH_TRIALS": "0", "INTERACTIVE": "False"}).items():
        command += ["-p", name, value] if value[0] not in "[{" else []  # papermill's -p takes no lists
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(re.findall(r"unknown parameter: (\w+)", done.stderr)) == {"IMAGENET_VAL", "CIFAR10"}  # those two are of 02 and 03
    assert results(tmp_path / "run")["epochs"] == 1


def test_after_a_run_that_failed_the_same_command_makes_the_report(flawed, tmp_path):
    folder = tmp_path / "run"
    assert main(arguments(folder, flawed, BAD_IMAGES="stop")) == 1 and (folder / "report.failed.html").exists()
    assert main(arguments(folder, flawed)) == 0
    assert (folder / "report.html").exists() and not (folder / "report.failed.html").exists()
