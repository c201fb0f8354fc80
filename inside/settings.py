"""Every notebook parameter in one table: its valid values, its meaning, and what depends on it.

Imports nothing heavy, so that a wrong name or value is reported at once. Checks that need networks, Optuna or a device
follow in `preflight`.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import yaml

from inside import names
from inside.legal import Flag, ListOf, Literal, Number, Whole, Word, Written
from inside.plain_yaml import parse_yaml
from inside.text import brief, did_you_mean, errors_of, raise_all


@dataclass(frozen=True)
class Parameter:
    """One parameter of the notebooks.

    `kinds`: the kinds of value, one of which must accept it. `notebooks`: the digits of their numbers. `trains`: whether the
    result of training depends on it. `searchable`, `comparable`: whether SEARCH_SPACE and COMPARE may change it.
    `pretrained`: it has no effect on networks trained from scratch.
    """

    name: str
    kinds: tuple
    meaning: str = ""
    notebooks: str = "1"
    trains: bool = False
    searchable: bool = False
    comparable: bool = False
    pretrained: bool = False

    @property
    def legal(self) -> str:
        """The valid values, in words."""
        return " or ".join(map(str, self.kinds))

    @property
    def comment(self) -> str:
        """The comment behind the parameter in the parameters cells."""
        legal = re.sub(r"^a (whole )?number from ", "", self.legal)
        return f"{legal}: {self.meaning}" if self.meaning else legal

    def check(self, value: object) -> None:
        """Raise ValueError, with the valid values or the nearest valid word, unless `value` is valid."""
        fitting = [kind for kind in self.kinds if kind.accepts(value)]
        if not fitting:
            words = [word for kind in self.kinds if isinstance(kind, Word) for word in kind.words]
            legal = did_you_mean(str(value), words) if isinstance(value, str) and words else f"it takes {self.legal}."
            raise ValueError(f"{self.name} = {brief(value)} is not valid: {legal}")
        if isinstance(fitting[0], Written) and (fault := fitting[0].fault(str(value))):
            raise ValueError(f"{self.name} = {brief(value)} is not valid, because {fault}: it takes {self.legal}.")
        if isinstance(fitting[0], Literal) and fitting[0].check:
            fitting[0].check(value)

    def parse(self, text: str) -> object:
        """The value of a command line's `text`: the text itself where text is valid, else a JSON, Python or YAML literal.

        YAML alone reads 1:30 as 90 and 010 as 8: such numbers remain text, which is then refused; so does what is far too
        long or too deep to be a value.
        """
        if any(isinstance(kind, Literal) and kind.kind is str or isinstance(kind, Word) and kind.accepts(text)
               for kind in self.kinds) or len(text) > 100_000 or text.count("[") + text.count("{") > 1000:
            return text
        for read in (json.loads, ast.literal_eval, parse_yaml):
            try:
                value = read(text)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, yaml.YAMLError):
                continue
            return text if read is parse_yaml and type(value) in (int, float) else value
        return text


def _text(says: str, check: Callable[[str], object] | None = None, *, empty: bool = False) -> tuple[Literal]:
    return (Written(says, check, empty=empty),)


ALL, MAPS = "123", "23"
_seeds = Whole(0, 2**31 - 1)
_learnt = partial(Parameter, trains=True, searchable=True, comparable=True)  # what a search and a comparison may change

THEMES: Mapping[str, tuple[Parameter, ...]] = {
    "the images": (
        Parameter("RUN", _text('a name, or a folder such as "runs/mine"', names.check_run), "results go to runs/<RUN>/",
                  ALL),
        Parameter("DATASET", _text(f"{Word(*names.DATASETS)}, a folder"), "", ALL),
        Parameter("DEMO_IMAGES", (Whole(60, 17034),), 'number of scenes drawn for the data set "demo"', ALL),
        Parameter("BAD_IMAGES", (Word("skip", "stop"),), "what to do with files that cannot be decoded"),
        Parameter("NEAR_DUPLICATES", (Word("group", "report", "off", "always"),),
                  "whether near duplicates stay together"),
        Parameter("LABEL_ISSUES", (Word("auto"), Flag()), "whether to search for label errors; auto: up to 20,000 images"),
        Parameter("IGNORE", _text('"", a CSV file with a column path', empty=True), "images to leave out, after the split"),
        Parameter("SPLIT", (Literal(list, "three fractions that sum to at most 1, or three counts", names.check_split),),
                  "train, validation, test", trains=True),
        Parameter("SEED", (_seeds,), "for new weights, image order, augmentation and, by default, the split",
                  ALL, trains=True, comparable=True),
        Parameter("SPLIT_SEED", (Word("auto"), _seeds), "for split and drawn images; auto: SEED", ALL),
        _learnt("IMAGE_SIZE", (Whole(8, 1024),), "images are resized to IMAGE_SIZE × IMAGE_SIZE pixels"),
        _learnt("AUGMENTATION", (Word(*names.AUGMENTATIONS),), "of the training images"),
        _learnt("BATCH_SIZE", (Whole(2, 4096),), "images per batch", ALL),
    ),
    "the network": (
        _learnt("ARCHITECTURE", _text('"efficientnet_lite0", "convnet5", a torchvision name, or "timm/<name>"'),
                "the network", ALL),
        Parameter("ARCHITECTURE_OPTIONS", (Literal(dict, 'a dictionary such as {"dropout": 0.2}'),),
                  "options of the architecture", trains=True, comparable=True),
        _learnt("HEAD", _text('"linear", or a hidden layer with dropout, "mlp:<width>:<dropout>"', names.read_head),
                "the new head", pretrained=True),
        _learnt("WEIGHTS", (Word("imagenet", "random"),), "the initial weights", pretrained=True),
        _learnt("STRATEGY", _text(f'{Word(*names.STRATEGIES)}, "from_layer:<name>"', names.check_strategy),
                "which layers are trained", pretrained=True),
    ),
    "training": (
        _learnt("EPOCHS", (Whole(1, 10_000),), "passes over the training images"),
        _learnt("HEAD_EPOCHS", (Whole(0, 10_000),), "epochs of training the new head alone first, on cached features",
                pretrained=True),
        _learnt("OPTIMIZER", (Word(*names.OPTIMIZERS),)),
        _learnt("LEARNING_RATE", (Number(1e-8, 10),), "of the head"),
        _learnt("BACKBONE_FACTOR", (Number(0, 1),), "learning rate of the other layers, as a fraction of LEARNING_RATE",
                pretrained=True),
        _learnt("WEIGHT_DECAY", (Number(0, 10),)),
        _learnt("SCHEDULE", (Word(*names.SCHEDULES),), "of the learning rate"),
        _learnt("WARMUP", (Number(0, 0.9),), "fraction of the steps over which the learning rate rises"),
        _learnt("LABEL_SMOOTHING", (Number(0, 0.9),)),
        _learnt("CLASS_WEIGHTS", (Flag(),), "whether rare classes get more weight in the loss"),
        _learnt("BATCH_NORM", (Word("auto", "frozen", "update"),),
                "running statistics; auto freezes those of ImageNet weights"),
        _learnt("PATIENCE", (Whole(0, 10_000),), "epochs without improvement before stopping; 0 never stops early"),
        Parameter("TRAIN", (Flag(),), "False evaluates the network in the run folder"),
    ),
    "search and comparison": (
        Parameter("SEARCH_TRIALS", (Whole(0, 10_000),), "number of settings to try; 0 turns the search off"),
        Parameter("SEARCH_SPACE", (Literal(dict, "a dictionary of options"),)),
        Parameter("SEARCH_SAMPLER", (Word("tpe", "random", "grid"),), "how settings are sampled"),
        Parameter("SEARCH_EPOCHS", (Whole(0, 10_000),), "epochs per trial; 0 means EPOCHS"),
        Parameter("SEARCH_IMAGES", (Whole(0, names.MOST_IMAGES),), "training images per trial; 0 means all"),
        Parameter("FINAL_SEEDS", (Whole(0, 100),), "new seeds with which the best settings are checked"),
        Parameter("STUDY_STORAGE", _text('"", a file, or the URL of a database', empty=True),
                  '"" is a file in the run folder'),
        Parameter("COMPARE", (Literal(list, 'a list of changed parameters, such as [{"STRATEGY": "head"}]'),),
                  "networks to compare"),
    ),
    "feature maps": (
        Parameter("LAYERS", (ListOf(str, "a list of module names"),),
                  "the feature maps; [] takes five, spread over the depth", MAPS),
        Parameter("N_IMAGES", (Whole(4, 100_000),), "images per scenario", MAPS),
        Parameter("MAP_SIZE", (Whole(32, 1024),), "images are resized to MAP_SIZE × MAP_SIZE pixels", MAPS),
        Parameter("IMAGENET_VAL", _text('a folder, "imagenette", or an embedded stand-in'), "ImageNet validation images",
                  MAPS),
        Parameter("CIFAR10", _text('a folder, "cifar10", or an embedded stand-in'), "CIFAR-10 images", MAPS),
        Parameter("RANDOM_DRAWS", (Whole(1, 100),), "random initialisations, the baseline", MAPS),
        Parameter("NEURON_LAYER", _text('a module name, or ""', empty=True),
                  'the layer of the neurons; "" takes the last convolution', "2"),
        Parameter("NEURONS", (ListOf(int, "a list of channels"),), "the channels to show; [] takes the most selective", "2"),
        Parameter("RANDOMISED_IMAGES", (Whole(0, 10_000),), "images for the test with random weights; 0 skips it", "2"),
        Parameter("OCCLUDED_IMAGES", (Whole(0, 10_000),), "images for the occlusion test; 0 skips it", "2"),
        Parameter("DETECTOR", _text('a detector of torchvision, or ""', empty=True),
                  'finds objects in some images; "" skips it', "2"),
        Parameter("TOP_K", (Whole(1, 100_000),), "eigenvalues to show and store", "3"),
        Parameter("RESAMPLES", (Whole(10, 10_000),), "bootstrap resamples", "3"),
        Parameter("OVERLAP_DIRECTIONS", (Whole(1, 1000),), "leading directions compared between networks and halves", "3"),
        Parameter("RESOLUTION_CONTROL", (Flag(),), "whether to measure images reduced to 32 × 32 pixels as well", "3"),
    ),
    "what is shown": (
        Parameter("RANKED_CLASSES", (ListOf(str, "a list of class names"),),
                  "the classes of the ranked grids; [] takes the first three"),
        Parameter("SAMPLE_GRID", (Literal(list, "two whole numbers from 1 to 20", names.check_grid),),
                  "rows and columns of sample predictions"),
    ),
    "the machine and the page": (
        Parameter("DEVICE", (Word("auto", "cpu", "cuda", "mps"),), "where to compute", ALL, trains=True),
        _learnt("PRECISION", (Word("auto", "float32", "bfloat16", "float16"),), "of training"),
        Parameter("WORKERS", (Word("auto"), Whole(0, 64)), "image-loading processes; auto: 0 without a GPU", ALL),
        Parameter("PROCESSES", (Word("auto"), Whole(1, 64)), "computing processes; auto: one a CUDA GPU", ALL),
        Parameter("TRACKERS", (ListOf(str, f"a list of {Word(*names.TRACKERS)}"),), "where curves are also logged"),
        Parameter("INTERACTIVE", (Flag(),), "whether to show progress bars and the interactive panel", ALL),
    ),
}
PARAMETERS: Mapping[str, Parameter] = {parameter.name: parameter for theme in THEMES.values() for parameter in theme}


def parameters_where(**wanted: bool) -> tuple[str, ...]:
    """The names of the parameters with these properties, in the order of the table: parameters_where(searchable=True)."""
    return tuple(name for name, parameter in PARAMETERS.items()
                 if all(getattr(parameter, key) == value for key, value in wanted.items()))


def split_seed(settings: Mapping[str, Any]) -> int:
    """The seed of the split, and of the images that are drawn: SPLIT_SEED, or SEED where that is "auto"."""
    return settings["SEED"] if settings["SPLIT_SEED"] == "auto" else settings["SPLIT_SEED"]


def name_problems(given: Iterable[object]) -> list[str]:
    """A sentence, with the nearest valid name, for each name that is no parameter."""
    return [f"No notebook has a parameter {brief(name)}: {did_you_mean(str(name).upper(), PARAMETERS)}"
            for name in given if name not in PARAMETERS]


def parameter_problems(values: Mapping[str, Any]) -> list[str]:
    """A sentence for each notebook parameter in `values` that is not valid; other names are ignored."""
    return [problem for name in PARAMETERS if name in values for problem in errors_of(PARAMETERS[name].check, values[name])]


def check_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook parameters in `values`; one ValueError tells all that are not valid.

    Other names are ignored, so that globals() can be passed.
    """
    raise_all(parameter_problems(values))
    return {name: values[name] for name in PARAMETERS if name in values}


def unknown_problems(namespace: Mapping[str, Any], before: Iterable[str] | None = None) -> list[str]:
    """A sentence for each name in a notebook's globals() that is meant as a parameter but is not one.

    On the first call (`before` is None) these are UPPER_CASE names, and other spellings of a parameter such as epochs or
    BatchSize, that are bound to a JSON literal. Later, when `before` holds the names of the first call, readers have
    variables of their own: then only new UPPER_CASE names that resemble a parameter's.
    """
    spellings, found = {_plain(name): name for name in PARAMETERS}, list[str]()
    for name, value in namespace.items():
        if name in PARAMETERS or name.startswith("_"):
            continue
        spelt = before is None and spellings.get(_plain(name))
        near = "did you mean" in did_you_mean(name, PARAMETERS, cutoff=0.75)
        meant = re.fullmatch(r"[A-Z][A-Z0-9_]*", name) and (before is None or name not in before and near)
        if (spelt or meant) and _is_literal(value):
            found += [f"No notebook has a parameter {name!r}: did you mean {spelt!r}?"] if spelt else name_problems([name])
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _is_literal(value: object) -> bool:
    """Whether a value could stand in a parameters cell, as a JSON literal."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_literal, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_literal(entry) for key, entry in value.items())
    return value is None or isinstance(value, (str, int, float))


def describe_parameters() -> str:
    """The table as text, as `run.py --parameters` prints it: name, notebooks, valid values, meaning, by theme."""
    width = max(map(len, PARAMETERS))
    lines = [f"{'parameter':<{width}}  in     valid values: meaning"]
    for theme, parameters in THEMES.items():
        lines += ["", theme]
        for parameter in parameters:
            body = textwrap.fill(parameter.comment, 118 - width - 9).replace("\n", "\n" + " " * (width + 9))
            lines.append(f"{parameter.name:<{width}}  {','.join(parameter.notebooks):<5}  {body}")
    return "\n".join(lines)
