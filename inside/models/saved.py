"""The network saved by a run: its weights (model.safetensors) and its description (model.json)."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import nn

from inside.files import RunFolder, atomic_write, read_json, write_json
from inside.models.build import build_network

FORMAT = 1  # of model.json; increased whenever a version of the past would read it wrongly
KINDS: Mapping[str, Any] = {"classes": list, "image_size": int,
                            **dict.fromkeys(("architecture", "head", "split", "root"), str),
                            **dict.fromkeys(("options", "preprocessing", "settings", "recipe", "costs"), dict)}


@dataclasses.dataclass(kw_only=True)
class SavedModel:
    """The contents of model.json; a field with a default may be missing there, as in runs of earlier versions.

    `split` is the fingerprint of the split, `root` the folder of its images; `costs` counts parameters and
    multiply-accumulates, `seconds` are those of the training. `first_trainable`: the first trained module, "" for all;
    `frozen`: the outermost modules that have not changed; `train_unaugmented`: its score on the training images;
    `temperature`: what its logits are to be divided by for calibrated scores (`save_temperature`), None if there is none.
    """

    architecture: str
    options: dict = dataclasses.field(default_factory=dict)
    head: str = "linear"
    classes: list[str]
    image_size: int
    preprocessing: dict
    split: str
    settings: dict = dataclasses.field(default_factory=dict)
    recipe: dict = dataclasses.field(default_factory=dict)
    costs: dict = dataclasses.field(default_factory=dict)
    seconds: float | None = None
    root: str
    device: str = ""
    precision: str = ""
    first_trainable: str = ""
    frozen: list[str] = dataclasses.field(default_factory=list)
    train_unaugmented: dict | None = None
    temperature: float | None = None
    format: int = FORMAT

    @classmethod
    def read(cls, run: RunFolder) -> SavedModel | None:
        """What the model.json of a run tells, None where there is none; names that are no field are passed over.

        ValueError where it is of a newer format, where a field without a default is missing, and where one is of another
        kind.
        """
        if not run.path("model.json").exists():
            return None
        told, fields = read_json(run.path("model.json")), dataclasses.fields(cls)
        if not isinstance(told.get("format", 1), int) or told.get("format", 1) > FORMAT:
            raise ValueError(f"{run.path('model.json')} is of a newer version of this project (format {told['format']!r}, "
                             f"known up to {FORMAT}): update the project, or run notebook 01 again.")
        needed = [field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING]
        missing = [name for name in needed if name not in told]
        if missing:
            raise ValueError(f"{run.path('model.json')} does not tell {', '.join(missing)}: run notebook 01 again.")
        wrong = [name for name, kind in KINDS.items() if name in told and not isinstance(told[name], kind)]
        if wrong or not all(isinstance(name, str) for name in told["classes"]) or not told["classes"]:
            name = wrong[0] if wrong else "classes"
            raise ValueError(f"{run.path('model.json')} has a value of {name} that notebook 01 does not write "
                             f"({reprlib.repr(told[name])}): run notebook 01 again.")
        return cls(**{field.name: told[field.name] for field in fields if field.name in told})

    @classmethod
    def of(cls, run: RunFolder) -> SavedModel:
        """The model.json of a run; ValueError if the run has no trained network."""
        saved = cls.read(run)
        if saved is None or not run.path("model.safetensors").exists():
            raise ValueError(f"The run {run.name!r} has no trained network (model.safetensors): run notebook 01 with "
                             "TRAIN = True first.")
        return saved

    def write(self, run: RunFolder) -> None:
        """Write model.json, atomically."""
        write_json(run.path("model.json"), dataclasses.asdict(self))

    @property
    def kind(self) -> dict[str, Any]:
        """The arguments of `build_network` that give a network of this kind."""
        return {"architecture": self.architecture, "n_classes": len(self.classes), "image_size": self.image_size,
                "options": self.options, "head": self.head}

    def build(self) -> nn.Module:
        """A network of this kind, with random weights."""
        return build_network(**self.kind, weights="random")[0]


def save_network(run: RunFolder, weights: Mapping[str, torch.Tensor], saved: SavedModel) -> None:
    """Write model.safetensors, then model.json, each atomically."""
    run.path("model.json").unlink(missing_ok=True)
    with atomic_write(run.path("model.safetensors")) as temporary:
        safetensors.torch.save_file({name: weight.detach().cpu().contiguous().clone()
                                     for name, weight in weights.items()}, temporary)
    saved.write(run)


def save_temperature(run: RunFolder, temperature: float | None) -> None:
    """Note in model.json the temperature that `inside.evaluation.calibrate` has fitted; the scores of the network stay."""
    if read_json(run.path("model.json")).get("temperature") != temperature:
        run.amend("model.json", {"temperature": temperature})


def load_network(run: RunFolder) -> tuple[nn.Module, SavedModel]:
    """The network saved by a run, in evaluation mode, and its description. ValueError if there is none that fits."""
    saved, file = SavedModel.of(run), run.path("model.safetensors")
    model = saved.build()
    try:
        weights = safetensors.torch.load_file(file)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read ({str(error).splitlines()[0]}): run notebook 01 again.") from None
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    if shapes != wanted:
        name = next(name for name in {**wanted, **shapes} if wanted.get(name) != shapes.get(name))
        own, other = (f"{tuple(found[name])}" if name in found else "missing" for found in (wanted, shapes))
        raise ValueError(f"{file} holds the weights of another network than {saved.architecture} with {len(saved.classes)} "
                         f"classes, which model.json describes ({name}: {other} instead of {own}): run notebook 01 again.")
    model.load_state_dict(weights)
    return model.eval(), saved
