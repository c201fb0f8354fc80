"""The commands of README, and how they are run in small."""

import re
import shlex

from inside.cli.commands import COMMANDS as ON_RUNS
from inside.files import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line, comments=True) for block in re.findall(r"^```\n(.*?)^```", README, flags=re.S | re.M)
            for line in block.replace("\\\n", " ").replace("\\", "/").splitlines()]
RUNS = [words[2:] for words in COMMANDS if words[1] == "run.py" and words[2] not in ON_RUNS]
SMALL = {"ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": 32, "EPOCHS": 1, "SEARCH_TRIALS": 0, "COMPARE": [],
         "BATCH_SIZE": 16, "INTERACTIVE": "false"}
SMALL_SEARCH = {"SEARCH_TRIALS": 2, "SEARCH_EPOCHS": 1, "SEARCH_IMAGES": 30, "FINAL_SEEDS": 1, "STRATEGY": "full"}


def small(words, folder, dataset):
    """A command of README with `dataset` for its folder of images, on a small network, for notebook 01 only."""
    changes = SMALL | (SMALL_SEARCH if "SEARCH_TRIALS" in words else {}) | {"DATASET": dataset}
    if "digits" in words:  # its own network is small
        changes = {"EPOCHS": 1, "COMPARE": []}
    return [*words, *(word for name, value in changes.items() for word in ("-p", name, str(value))), "--only", "01", "--name", str(folder)]
