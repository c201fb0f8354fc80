"""README: its commands are legal and run, its messages are those of the code, its links and pictures resolve."""

import errno
import importlib.util
import re
import shlex
import shutil
import subprocess
import tomllib

import pytest
import torch
import torchvision
import yaml
from torch import nn
from torch.distributed.run import get_args_parser

from inside import files, preflight
from inside.cli.commands import COMMANDS as ON_RUNS
from inside.cli.main import command_parser, main
from inside.cli.profiles import PROFILES, default_parameters, given_parameters, read_profile
from inside.data.loading import TensorImages, make_loader
from inside.data.sources import open_dataset
from inside.data.split import split_images
from inside.data.table import decode_images
from inside.device import choose_device
from inside.disk import Need, check_room
from inside.files import ROOT, NotWritten, RunFolder, atomic_write, require_reachable
from inside.locks import hold
from inside.many_runs.sweep import run as sweep
from inside.models.build import build_network
from inside.models.saved import SavedModel, save_network
from inside.training.experiment import load_trained
from inside.training.loop import Trainer
from inside.training.recipe import Recipe
from shared.kernels import forked_kernels  # noqa: F401

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.S | re.M)
COMMANDS = [shlex.split(line, comments=True) for language, block in BLOCKS if not language
            for line in block.replace("\\\n", " ").replace("\\", "/").splitlines()]
RUNS = [words[2:] for words in COMMANDS if words[1] == "run.py" and words[2] not in ON_RUNS]
LATER = [words[2:] for words in COMMANDS if words[1] == "run.py" and words[2] in ON_RUNS]
TASKS = [words[1:] for words in COMMANDS if words[0] == "make"]
OTHERS = [words for words in COMMANDS if words[1] != "run.py" and words[0] != "make"]
SMALL = {"ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": 32, "EPOCHS": 1, "SEARCH_TRIALS": 0, "COMPARE": [],
         "BATCH_SIZE": 16, "INTERACTIVE": "false"}
SMALL_SEARCH = {"SEARCH_TRIALS": 2, "SEARCH_EPOCHS": 1, "SEARCH_IMAGES": 30, "FINAL_SEEDS": 1, "STRATEGY": "full"}


def given(words):
    """The parameters of a command, checked as run.py checks them before anything runs."""
    parameters = given_parameters(command_parser().parse_args(words))
    settings = default_parameters() | parameters
    preflight.check_settings(settings)
    return parameters


@pytest.mark.parametrize("words", [words for words in RUNS if not words[0].startswith("--")], ids=" ".join)
def test_each_run_is_legal(words):
    assert set(read_profile(words[0])) <= set(given(words))


@pytest.mark.parametrize("words", [words for words in RUNS if words[0].startswith("--")], ids=" ".join)
def test_what_prints_runs(words, capsys):
    try:
        assert main(words) == 0
    except SystemExit as end:
        assert end.code == 0
    assert "--only" in capsys.readouterr().out or words == ["--parameters"]


def test_what_is_shown_in_python_runs():
    (shown,) = (block for language, block in BLOCKS if language == "python")
    images = torch.rand(4, 3, 64, 64)
    names = {"model": torchvision.models.resnet18(), "loader": [images[:2], images[2:]], "images": images}
    exec(shown, names)
    assert names["shares"]["images"].tolist() == [4] and 1 <= names["rank"] <= 3
    assert len(names["maps"].maps) == len(names["gradients"]) == 4


@pytest.mark.parametrize("words", LATER, ids=" ".join)
def test_each_command_on_runs_is_legal(words, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RUNS", tmp_path)
    monkeypatch.setattr(sweep, "run_sweep", lambda plan, *_, **options: print(len(plan.rows), "runs") or len(plan.rows) == 6)
    (tmp_path / "rates.csv").write_text("\n".join(re.search(r"`rates.csv` with the lines\s`(.*?)`,\s`(.*?)`\sand\s`(.*?)`\sasks\sfor\ssix", README).groups()))
    status = main([str(tmp_path / word) if word.endswith(".csv") else word for word in words])
    told = capsys.readouterr()
    assert status == 0 and told.out or status == 2 and re.match(
        "error: (The run 'mine' has no trained network|A comparison takes two runs or more|There is no folder path/to/images|"
        ".*/mine is no run)", told.err) or words[0] == "check" and status == 2 and told.out.count("There is no run folder 'path/to/") == 2


def test_each_command_on_runs_is_shown():
    assert {words[0] for words in LATER} == set(ON_RUNS)


def small(words, folder, dataset):
    """A command of README with `dataset` for its folder of images, on a small network, for notebook 01 only."""
    changes = SMALL | (SMALL_SEARCH if "SEARCH_TRIALS" in words else {}) | {"DATASET": dataset}
    if "digits" in words:  # its own network is small
        changes = {"EPOCHS": 1, "COMPARE": []}
    return [*words, *(word for name, value in changes.items() for word in ("-p", name, str(value))), "--only", "01", "--name", str(folder)]


@pytest.mark.soak
@pytest.mark.parametrize("start", ["demo -p DATASET", "digits --only", "photographs -p DATASET path/to/folder -p SEARCH_TRIALS"])
def test_long_runs_in_small(start, scenes, tmp_path):
    (words,) = [words for words in RUNS if " ".join(words).startswith(start)]
    assert main(small(words, tmp_path / "run", scenes)) == 0
    assert (tmp_path / "run" / "report.html").exists() and (tmp_path / "run" / "trials.csv").exists() == ("SEARCH_TRIALS" in words)


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize("words", TASKS, ids=" ".join)
def test_make_has_each_task(words):
    done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_the_other_commands_name_what_there_is():
    """Those that need a network: an environment, its packages; papermill, with a notebook and a profile; several machines."""
    assert [words[:3] for words in OTHERS[:2]] == [["py", "-m", "venv"], [".venv/Scripts/python", "-m", "pip"]]
    variable, *together = OTHERS[3]
    assert len(OTHERS) == 4 and together[0] == "torchrun" and together[-3:-1] == ["-m", "inside.training.worker"]
    assert importlib.util.find_spec(together[-2]) and variable.partition("=")[0] in (ROOT / "inside" / "processes.py").read_text()
    torchrun = get_args_parser().format_help()
    assert all(word in torchrun for word in together if word.startswith("--"))
    assert OTHERS[1][3:] == ["install", "--editable", "."] and OTHERS[2][0] == "papermill" and OTHERS[2][3] == "-f"
    assert (ROOT / OTHERS[2][1]).is_file() and (ROOT / OTHERS[2][4]).parent == PROFILES and (ROOT / OTHERS[2][4]).is_file()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r'pip install -e "\.\[(\w+)\]"', README)) == {"trackers", "postgresql"} <= set(extras)
    conda = (ROOT / "environment.yml").read_text(encoding="utf-8")
    lines = re.findall(r"^#   (.*)$", conda, flags=re.M)
    assert lines[0].split()[-1] == "environment.yml" and lines[1] == f"conda activate {yaml.safe_load(conda)['name']}"
    assert given(lines[2].split()[2:])


def test_links_and_pictures_resolve():
    links = re.findall(r"\]\(([^)\s]+)\)", README)
    inner = [link for link in links if "://" not in link]
    headings = {re.sub(r"[^\w -]", "", line).strip().replace(" ", "-").lower() for line in re.findall(r"^#+ (.*)$", README, flags=re.M)}
    for link in inner:
        file, _, place = link.partition("#")
        assert (ROOT / file).exists() and (file or place in headings), link
    shown = set(re.findall(r"!\[[^\]]{30,}\]\(figures/([^)]+)\)", README))
    assert shown == {path.name for path in (ROOT / "figures").iterdir()} and len(shown) >= 3
    assert README.index("_of_photographs.png") < README.index("```")  # the first screen shows photographs' numbers
    assert ("drawn" in README[README.index("figures/class_activation_maps.png"):][:100])


class Hungry(nn.Linear):
    """Has memory for four images."""

    def forward(self, images):
        if len(images) > 4:
            raise torch.OutOfMemoryError
        return super().forward(images)


def learn(network, images, rate=0.01):
    loader = make_loader(TensorImages(images, [0, 1] * (len(images) // 2)), batch_size=16)
    Trainer(network, loader, Recipe(epochs=1, learning_rate=rate, optimizer="sgd"), 2, torch.float32).train_epoch(loader, bar=False)


def another_split(folder, split):
    run = RunFolder(str(folder.parent / "mine"))
    model, preprocessing = build_network("timm/test_resnet", len(split.classes), weights="random")
    save_network(run, model.state_dict(), SavedModel(architecture="timm/test_resnet", classes=split.classes, image_size=32,
                                                     preprocessing=preprocessing, split="of another split", root=str(folder)))
    load_trained(run, split=split)


def too_few(folder):
    images, _ = decode_images(open_dataset(str(folder)), cache=folder.parent / "cache")
    split_images(images, [0.5, 0.25, 0.25], seed=0)


def broken(folder):
    (folder / "a" / "broken.png").write_text("not an image")
    decode_images(open_dataset(str(folder)), bad_images="stop", cache=folder.parent / "cache")


def old_python(folder):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    command = ["make", "--no-print-directory", "PYTHON=false", "setup"]  # the tests may themselves be run by make
    raise ValueError(subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout)


# how a message that README quotes begins, and what makes the code give it, from a folder of four and two images and a split
def full_disk(folder, split):
    with atomic_write(folder / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")


MESSAGES = {
    "Python 3.11": lambda folder, split: old_python(folder),
    "DATASET =": lambda folder, split: open_dataset("path/to/folder"),
    "The folder": lambda folder, split: open_dataset(str(folder / "a")),
    "… of … images": lambda folder, split: broken(folder),
    "The class": lambda folder, split: too_few(folder),
    "No notebook": lambda folder, split: given(["demo", "-p", "EPOCH", "3"]),
    "… is not on": lambda folder, split: require_reachable("http://127.0.0.1:9/file", "The file", "1 MB", "Put it there."),
    "… things": lambda folder, split: given(["demo", "-p", "EPOCHS", "0", "-p", "SEED", "-1"]),
    "The run needs": lambda folder, split: check_room([Need(folder, "weights", 1e30)]),
    "DEVICE": lambda folder, split: choose_device("cuda"),
    "out of memory": lambda folder, split: learn(Hungry(8, 2), torch.randn(16, 8)),
    "The loss": lambda folder, split: learn(nn.Linear(8, 2), torch.full((64, 8), 1e20), rate=1e20),
    "The network": another_split,
    "… is in use": lambda folder, split: [hold(folder, "01", wait=0), hold(folder, "01", wait=0)],
    "… was not written": full_disk,
    "TRACKERS": lambda folder, split: preflight.check_settings(default_parameters() | {"TRACKERS": ["wandb"]}),
}
QUOTED = re.findall(r"^\| `([^`]+)` \|", README[README.index("## Troubleshooting"):README.index("## Licences")], flags=re.M)


@pytest.mark.parametrize("message", QUOTED)
def test_each_message_is_one_that_the_code_gives(message, make_folder, split, monkeypatch, capsys):
    (cause,) = [cause for start, cause in MESSAGES.items() if message.startswith(start)]
    if "make" in message and not shutil.which("make"):
        pytest.skip("make is not installed")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told = ""
    try:
        cause(make_folder({"a": 4, "b": 2}), split)
    except (ValueError, NotWritten) as error:
        told = str(error)
    assert re.match(".+".join(map(re.escape, message.split("…"))), told or capsys.readouterr().out), told


def test_all_causes_are_quoted():
    assert len(QUOTED) == len(MESSAGES)
