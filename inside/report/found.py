"""What a run folder holds for the page; a part that is missing is empty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from inside.feature_maps.scenario_names import STAND_INS
from inside.files import file_hash, read_csv, read_json

IMAGE_SETS = {"imagenet": "ImageNet", "cifar10": "CIFAR-10"}
NOT_RUN = "notebook {} has not run here"


@dataclass(frozen=True)
class Found:
    """A run folder, and the results of its notebooks by number ("01"); {} for one that has not run."""

    folder: Path
    results: Mapping[str, Mapping]

    def __post_init__(self) -> None:
        object.__setattr__(self, "results", dict.fromkeys(("01", "02", "03"), {}) | dict(self.results))

    @classmethod
    def read(cls, folder: Path) -> Found:
        """What is there."""
        return cls(folder, {path.name[:2]: read_json(path) for path in folder.glob("0[123]_results.json")})

    def table(self, name: str) -> pd.DataFrame:
        """A CSV of the run folder; an empty table where there is none."""
        path = self.folder / name
        return read_csv(path, texts=_TEXTS) if path.exists() else pd.DataFrame()

    def outdated(self) -> list[str]:
        """The numbers of notebooks that have measured another network than the one that the run folder has now."""
        weights = self.folder / "model.safetensors"
        now = file_hash(weights) if weights.exists() else None
        return [number for number in ("01", "02", "03") if self.results[number].get("network", now) != now]

    @property
    def classes(self) -> list[str]:
        """The class names; [] where notebook 01 has not run."""
        return list(self.results["01"].get("test", {}).get("per_class", {}))

    @property
    def predictions(self) -> pd.DataFrame:
        """The predictions of the test images; empty where there are none, or none that belong to these results."""
        return self.table("predictions_test.csv") if self.results["01"] else pd.DataFrame()

    def scenarios(self, number: str) -> dict[str, Mapping]:
        """{scenario: {layer: numbers}} of notebook 02 or 03; those that are missing are left out."""
        return {name: layers for name, layers in self.results[number].get("scenarios", {}).items() if layers}

    def moved(self, number: str, column: str) -> list[tuple[str, float, float]]:
        """(layer, initial, fine-tuned) of a number of notebook 02 or 03, own images; [] where one of the two is missing."""
        old, new = (self.scenarios(number).get(name, {}) for name in ("imagenet_own", "finetuned_own"))
        pairs = [(layer, old[layer].get(column), new[layer].get(column)) for layer in new if layer in old]
        return [pair for pair in pairs if None not in pair]

    def why_not(self, number: str) -> str:
        """Why fine-tuned and initial network cannot be compared in notebook 02 or 03."""
        missing = self.results[number].get("missing", {})
        reasons = [missing[name] for name in ("finetuned_own", "imagenet_own") if name in missing]
        return reasons[0].rstrip(".") if reasons else NOT_RUN.format(number) if not self.results[number] else "not measured"

    def stand_ins(self) -> list[str]:
        """The embedded data sets that took the place of ImageNet or CIFAR-10 in notebook 02 or 03."""
        names = {name for number in ("02", "03") for name in self.scenarios(number)}
        return [name.replace("_", " ") for name in STAND_INS if f"imagenet_{name}" in names]


_TEXTS = ("path", "label", "predicted", "class")
