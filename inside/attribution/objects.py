"""Objects that a detector finds in some of the images, for notebook 02."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from inside.attribution.as_it_is import SHOWN_CLASSES, draw_examples
from inside.attribution.plots import plot_objects
from inside.attribution.report import left_out_text
from inside.data.sources import ImageSet
from inside.data.table import load_image
from inside.models.detectors import Objects, build_detector, find_objects
from inside.shown import Figure, Shown, Table
from inside.text import listed, literal

LEAST = 0.5  # the score of an object that counts
LARGEST = 1333  # pixels of the longer side: larger images are reduced to that, as torchvision's detectors do themselves


@dataclass(frozen=True)
class ObjectsFound:
    """What `detector` finds in an image of each class, some at most: `labels`, `pictures` (H,W,3), `objects`; or why not."""

    detector: str = ""
    labels: Sequence[str] = ()
    pictures: Sequence[np.ndarray] = ()
    objects: Sequence[Objects] = ()
    left_out: str = ""

    @property
    def table(self) -> pd.DataFrame:
        """Columns object, count, images (in how many of them), mean score; the most frequent first."""
        rows = [(name, image, score) for image, found in enumerate(self.objects)
                for name, score in zip(found.names, found.scores, strict=True)]
        kinds = pd.DataFrame(rows, columns=["object", "image", "score"]).groupby("object")
        counts, images, scores = kinds.size(), kinds["image"].nunique(), kinds["score"].mean()
        table = pd.DataFrame({"count": counts, "images": images, "mean score": scores})
        return table.sort_values(["count", "mean score"], ascending=False).reset_index()


def look_for_objects(own: ImageSet, detector: str, *, device: torch.device, seed: int = 0) -> ObjectsFound:
    """The objects that a detector of torchvision finds in one image of each class, those of `draw_examples`; "": none."""
    if not detector:
        return ObjectsFound(left_out='DETECTOR is ""')
    try:
        model, names = build_detector(detector)
    except ValueError as error:
        return ObjectsFound(left_out=str(error))
    rows = draw_examples(own.table, seed=seed)
    images = [load_image(own.root / path) for path in rows["path"]]
    for image in images:
        image.thumbnail((LARGEST, LARGEST))
    objects = [find_objects(model.to(device), names, image, least=LEAST) for image in images]
    return ObjectsFound(detector, list(rows["label"]), [np.asarray(image) for image in images], objects)


def report_objects(found: ObjectsFound) -> list[Shown]:
    """The images with their boxes, and if there are any a table of the objects; or why nothing was looked for."""
    if found.left_out:
        return [left_out_text(found.left_out)]
    claim, table = describe_objects(found), found.table
    told = "; ".join(f"{literal(label or 'no class')}: {_count(each.names) or 'none'}"
                     for label, each in zip(found.labels, found.objects, strict=True))
    read = (f"One image per class, of {SHOWN_CLASSES} classes at most, with the boxes, names and scores of "
            f"`{found.detector}`, which was trained on the photographs of COCO; only scores of at least {LEAST} count.")
    shown: list[Shown] = [Figure(plot_objects(found.pictures, found.labels, found.objects), "objects",
                                 f"Images with boxes around the objects found. {told}. {claim}", f"{claim} {read}")]
    if len(table):
        caption = "By kind of object: how many, in how many of the images, and their mean score."
        shown.append(Table(table, "objects", f"{_most(table)} {caption}"))
    return shown


def describe_objects(found: ObjectsFound) -> str:
    """How many objects there are, in how many of the images, and of which kinds."""
    n = len(found.objects)
    where, names = sum(bool(each.names) for each in found.objects), [name for each in found.objects for name in each.names]
    shown = f"{n} image{'s' * (n != 1)}"
    if not names:
        return f"The detector finds no object in the {shown}."
    return f"The detector finds {len(names)} object{'s' * (len(names) != 1)} in {where} of the {shown}: {_count(names)}."


def _count(names: Sequence[str]) -> str:
    """Names with their numbers, the most frequent first."""
    return listed([f"{count} {name}" for name, count in Counter(names).most_common()], 8)


def _most(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    return f"Most frequent: {first['object']}, {first['count']} in {first['images']} of the images."


def objects_results(found: ObjectsFound) -> dict[str, Any]:
    """{objects, objects_reason} for 02_results.json; objects is None where nothing was looked for, for this reason."""
    if found.left_out:
        return {"objects": None, "objects_reason": found.left_out}
    counts = {row["object"]: row["count"] for row in found.table.to_dict("records")}
    return {"objects": {"detector": found.detector, "images": len(found.objects), "least_score": LEAST, "counts": counts},
            "objects_reason": None}
