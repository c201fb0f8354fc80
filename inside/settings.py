"""Every notebook parameter in one table: what it may be, what it means, and what depends on it.

Loads nothing heavy, so that a wrong name or value is answered at once. What needs networks, Optuna or a device to be
judged is checked a step later, in `preflight`.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import yaml

from inside import names
from inside.legal import Flag, ListOf, Literal, Number, Whole, Word
from inside.text import did_you_mean


@dataclass(frozen=True)
class Parameter:
    """One parameter of the notebooks.

    `kinds`: what a value may be, one of them must accept it. `notebooks`: the digits of their numbers. `trains`: whether the
    outcome of training depends on it. `searchable`, `comparable`: whether SEARCH_SPACE and COMPARE may change it.
    `pretrained`: it means nothing for networks that are trained from scratch.
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
        """The legal values, for a reader."""
        return " or ".join(map(str, self.kinds))

    @property
    def comment(self) -> str:
        """What stands behind the parameter in the parameters cells."""
        legal = re.sub(r"^a (whole )?number from ", "", self.legal)
        return f"{legal}: {self.meaning}" if self.meaning else legal

    def check(self, value: object) -> None:
        """ValueError, with what is legal and the nearest legal word, unless `value` is."""
        fitting = [kind for kind in self.kinds if kind.accepts(value)]
        if not fitting:
            words = [word for kind in self.kinds if isinstance(kind, Word) for word in kind.words]
            legal = did_you_mean(str(value), words) if isinstance(value, str) and words else f"it takes {self.legal}."
            raise ValueError(f"{self.name} = {value!r} is not legal: {legal}")
        if isinstance(fitting[0], Literal) and fitting[0].check:
            fitting[0].check(value)

    def parse(self, text: str) -> object:
        """The value that `text` stands for on a command line: text where text is legal, else a Python or YAML literal."""
        if any(isinstance(kind, Literal) and kind.kind is str or isinstance(kind, Word) and kind.accepts(text)
               for kind in self.kinds):
            return text
        for read in (ast.literal_eval, yaml.safe_load):
            try:
                return read(text)
            except (ValueError, SyntaxError, yaml.YAMLError):
                continue
        return text


def _text(says: str, check=None) -> tuple:
    return (Literal(str, says, check),)


ALL, MAPS = "123", "23"
_learnt = partial(Parameter, trains=True, searchable=True, comparable=True)  # what a search and a comparison may change

THEMES: Mapping[str, tuple[Parameter, ...]] = {
    "the images": (
        Parameter("RUN", _text('a name, or a folder such as "runs/mine"'), "where results go, runs/<RUN>/", ALL),
        Parameter("DATASET", _text(f"{Word(*names.DATASETS)}, a folder"), "", ALL),
        Parameter("DEMO_IMAGES", (Whole(60, 17034),), 'how many scenes are drawn, for the data set "demo"', ALL),
        Parameter("BAD_IMAGES", (Word("skip", "stop"),), "what to do with files that cannot be decoded"),
        Parameter("SPLIT", (Literal(list, "three fractions with a sum up to 1, or three counts", names.check_split),),
                  "train, validation, test", trains=True),
        Parameter("SEED", (Whole(0, 2**31 - 1),), "of the split, new weights, order of images, augmentation", ALL,
                  trains=True, comparable=True),
        _learnt("IMAGE_SIZE", (Whole(8, 1024),), "images are resized to IMAGE_SIZE × IMAGE_SIZE pixels"),
        _learnt("AUGMENTATION", (Word(*names.AUGMENTATIONS),), "of the training images"),
        _learnt("BATCH_SIZE", (Whole(2, 4096),), "images at a time", ALL),
    ),
    "the network": (
        _learnt("ARCHITECTURE", _text('"efficientnet_lite0", "convnet5", a torchvision name, "timm/<name>"'),
                "the network", ALL),
        Parameter("ARCHITECTURE_OPTIONS", (Literal(dict, 'a dictionary such as {"dropout": 0.2}'),), "of the architecture",
                  trains=True, comparable=True),
        _learnt("HEAD", _text('"linear", or a hidden layer with dropout, "mlp:<width>:<dropout>"', names.read_head),
                "the new last layers", pretrained=True),
        _learnt("WEIGHTS", (Word("imagenet", "random"),), "where training starts", pretrained=True),
        _learnt("STRATEGY", _text(f'{Word(*names.STRATEGIES)}, "from_layer:<name>"', names.check_strategy),
                "which layers learn", pretrained=True),
    ),
    "training": (
        _learnt("EPOCHS", (Whole(1, 10_000),), "passes over the training images"),
        _learnt("HEAD_EPOCHS", (Whole(0, 10_000),), "epochs that the new head learns alone first, on kept features",
                pretrained=True),
        _learnt("OPTIMIZER", (Word(*names.OPTIMIZERS),)),
        _learnt("LEARNING_RATE", (Number(1e-8, 10),), "of the new last layer"),
        _learnt("BACKBONE_FACTOR", (Number(0, 1),), "the layers before it learn at this times LEARNING_RATE",
                pretrained=True),
        _learnt("WEIGHT_DECAY", (Number(0, 10),)),
        _learnt("SCHEDULE", (Word(*names.SCHEDULES),), "of the learning rate"),
        _learnt("WARMUP", (Number(0, 0.9),), "share of the steps over which the learning rate rises"),
        _learnt("LABEL_SMOOTHING", (Number(0, 0.9),)),
        _learnt("CLASS_WEIGHTS", (Flag(),), "whether rare classes weigh more in the loss"),
        _learnt("BATCH_NORM", (Word("auto", "frozen", "update"),), "its statistics; auto freezes those of ImageNet weights"),
        _learnt("PATIENCE", (Whole(0, 10_000),), "stop after so many epochs without a better one; 0 never stops"),
        Parameter("TRAIN", (Flag(),), "if not, the network that the run folder holds is evaluated"),
    ),
    "search and comparison": (
        Parameter("SEARCH_TRIALS", (Whole(0, 10_000),), "settings to try; 0 searches nothing"),
        Parameter("SEARCH_SPACE", (Literal(dict, "a dictionary of ranges and choices"),)),
        Parameter("SEARCH_SAMPLER", (Word("tpe", "random", "grid"),), "how settings are drawn"),
        Parameter("SEARCH_EPOCHS", (Whole(0, 10_000),), "epochs of a trial; 0 takes EPOCHS"),
        Parameter("SEARCH_IMAGES", (Whole(0, 100_000_000),), "training images of a trial; 0 takes all"),
        Parameter("FINAL_SEEDS", (Whole(0, 100),), "new seeds for the best settings, to see whether they are better"),
        Parameter("STUDY_STORAGE", _text('"", a file, or the URL of a database'), '"" is a file in the run folder'),
        Parameter("COMPARE", (Literal(list, 'a list of changed parameters, such as [{"STRATEGY": "head"}]'),),
                  "networks side by side"),
    ),
    "feature maps": (
        Parameter("LAYERS", (ListOf(str, "a list of module names"),),
                  "the feature maps; [] takes five, spread over the depth", MAPS),
        Parameter("N_IMAGES", (Whole(4, 100_000),), "images in each scenario", MAPS),
        Parameter("MAP_SIZE", (Whole(32, 1024),), "the whole image is resized to MAP_SIZE × MAP_SIZE pixels",
                  MAPS),
        Parameter("IMAGENET_VAL", _text('a folder, "imagenette", or an embedded stand-in'), "of ImageNet validation", MAPS),
        Parameter("CIFAR10", _text('a folder, "cifar10", or an embedded stand-in'), "CIFAR-10 images", MAPS),
        Parameter("RANDOM_DRAWS", (Whole(1, 100),), "networks with random weights, the baseline", MAPS),
        Parameter("NEURON_LAYER", _text('a module name, or ""'),
                  'the layer of the neurons; "" takes the last convolution', "2"),
        Parameter("NEURONS", (ListOf(int, "a list of channels"),), "those to show; [] takes those that stand out most", "2"),
        Parameter("RANDOMISED_IMAGES", (Whole(0, 10_000),), "images for the test with random weights; 0 skips it", "2"),
        Parameter("OCCLUDED_IMAGES", (Whole(0, 10_000),), "images of which a tenth is hidden; 0 skips that", "2"),
        Parameter("TOP_K", (Whole(1, 100_000),), "eigenvalues shown and stored", "3"),
        Parameter("RESAMPLES", (Whole(10, 10_000),), "of the bootstrap", "3"),
        Parameter("OVERLAP_DIRECTIONS", (Whole(1, 1000),), "leading directions to compare between networks and halves", "3"),
        Parameter("RESOLUTION_CONTROL", (Flag(),), "whether to measure images reduced to 32 × 32 pixels, too", "3"),
    ),
    "what is shown": (
        Parameter("RANKED_CLASSES", (ListOf(str, "a list of class names"),),
                  "for the ranked grids; [] takes the first three"),
        Parameter("SAMPLE_GRID", (Literal(list, "two whole numbers from 1 to 20", names.check_grid),),
                  "rows and columns of sample predictions"),
    ),
    "the machine and the page": (
        Parameter("DEVICE", (Word("auto", "cpu", "cuda", "mps"),), "where to compute", ALL, trains=True),
        _learnt("PRECISION", (Word("auto", "float32", "bfloat16"),), "of training"),
        Parameter("WORKERS", (Whole(0, 64),), "processes that load images; 0 is fastest on few cores", trains=True),
        Parameter("TRACKERS", (ListOf(str, f"a list of {Word(*names.TRACKERS)}"),), "where curves are also written"),
        Parameter("INTERACTIVE", (Flag(),), "whether to show progress bars and a panel to browse", ALL),
    ),
}
PARAMETERS: Mapping[str, Parameter] = {parameter.name: parameter for theme in THEMES.values() for parameter in theme}


def parameters_where(**wanted: bool) -> tuple[str, ...]:
    """The names of the parameters with these properties, in the order of the table: parameters_where(searchable=True)."""
    return tuple(name for name, parameter in PARAMETERS.items()
                 if all(getattr(parameter, key) == value for key, value in wanted.items()))


def check_names(given: Iterable[object]) -> None:
    """ValueError, with the nearest legal name, unless all names are parameters."""
    for name in given:
        if name not in PARAMETERS:
            raise ValueError(f"No notebook has a parameter {name!r}: {did_you_mean(str(name).upper(), PARAMETERS)}")


def check_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook parameters in `values`, each checked; other names are passed over, so that globals() can be given."""
    checked = {name: values[name] for name in PARAMETERS if name in values}
    for name, value in checked.items():
        PARAMETERS[name].check(value)
    return checked


def check_unknown(namespace: Mapping[str, Any], before: Iterable[str] | None = None) -> None:
    """ValueError for a name in a notebook's globals() that is meant as a parameter and is none.

    On the first call (`before` is None) these are UPPER_CASE names, and other spellings of a parameter such as epochs or
    BatchSize, that are bound to a JSON literal. Later, `before` being the names of the first call, a reader has variables of
    his own: then only new UPPER_CASE names that come near a parameter's.
    """
    spellings = {_plain(name): name for name in PARAMETERS}
    for name, value in namespace.items():
        if name in PARAMETERS or name.startswith("_") or not _is_literal(value):
            continue
        upper = re.fullmatch(r"[A-Z][A-Z0-9_]*", name)
        if before is None and _plain(name) in spellings:
            raise ValueError(f"No notebook has a parameter {name!r}: did you mean {spellings[_plain(name)]!r}?")
        near = "did you mean" in did_you_mean(name, PARAMETERS, cutoff=0.75)
        if upper and (before is None or name not in before and near):
            check_names([name])


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _is_literal(value: object) -> bool:
    """Whether a value could be given in a parameters cell: a JSON literal."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_literal, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_literal(entry) for key, entry in value.items())
    return value is None or isinstance(value, (str, int, float))


def describe_parameters() -> str:
    """The table as text, as `run.py --parameters` prints it: name, notebooks, legal values, meaning, by theme."""
    width = max(map(len, PARAMETERS))
    lines = [f"{'parameter':<{width}}  in     legal values: meaning"]
    for theme, parameters in THEMES.items():
        lines += ["", theme]
        for parameter in parameters:
            body = textwrap.fill(parameter.comment, 118 - width - 9).replace("\n", "\n" + " " * (width + 9))
            lines.append(f"{parameter.name:<{width}}  {','.join(parameter.notebooks):<5}  {body}")
    return "\n".join(lines)
