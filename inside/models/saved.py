"""The network saved by a run: its weights (model.safetensors) and its description (model.json)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import nn

from inside.files import RunFolder, atomic_write, read_json, write_json
from inside.models.build import build_network


@dataclasses.dataclass(kw_only=True)
class SavedModel:
    """The contents of model.json; a field with a default may be missing there, as in runs of earlier versions.

    `split` is the fingerprint of the split, `root` the folder of its images; `costs` counts parameters and
    multiply-accumulates, `seconds` are those of the training. `first_trainable`: the first trained module, "" for all;
    `frozen`: the outermost modules that have not changed; `train_unaugmented`: its score on the training images.
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

    @classmethod
    def read(cls, run: RunFolder) -> SavedModel | None:
        """What the model.json of a run tells, None where there is none; names that are no field are passed over.

        ValueError where a field without a default is missing.
        """
        if not run.path("model.json").exists():
            return None
        told, fields = read_json(run.path("model.json")), dataclasses.fields(cls)
        needed = [field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING]
        missing = [name for name in needed if name not in told]
        if missing:
            raise ValueError(f"{run.path('model.json')} does not tell {', '.join(missing)}: run notebook 01 again.")
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


def load_network(run: RunFolder) -> tuple[nn.Module, SavedModel]:
    """The network saved by a run, in evaluation mode, and its description. ValueError if there is none."""
    saved = SavedModel.of(run)
    model = saved.build()
    model.load_state_dict(safetensors.torch.load_file(run.path("model.safetensors")))
    return model.eval(), saved
