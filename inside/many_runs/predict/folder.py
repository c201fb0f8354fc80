"""Predictions for images without labels, by the network of a finished run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from inside.data.listing import Listing
from inside.data.loading import to_device
from inside.data.table import decode_image
from inside.data.transforms import make_transform
from inside.device import InParts, choose_device, count_cores
from inside.evaluation.features import kept_inputs
from inside.evaluation.intervals import wilson_interval
from inside.files import RunFolder, atomic_write, csv_text
from inside.many_runs.predict.familiar import Familiar
from inside.models.saved import SavedModel, load_network
from inside.models.surgery import classifier_name
from inside.text import literal, percent, visible


@dataclass(frozen=True)
class Predicted:
    """What a network says of the images of a folder.

    `images`: path, label (the name of its folder where that is a class, else ""), predicted, confidence, distance (see
    `Familiar`; NaN where it is not known, for the reason `no_distance`), far. `unreadable`: path, reason. `limit`: the
    distance from which images are far. `file`: the CSV file with the scores of all classes.
    """

    root: Path
    file: Path
    images: pd.DataFrame
    unreadable: pd.DataFrame
    limit: float
    no_distance: str
    per_second: float

    @property
    def summary(self) -> list[str]:
        """Sentences on what was predicted, what is far, what is scored, and what could not be read."""
        n, found = len(self.images), self.images["predicted"].value_counts()
        counts = ", ".join(f"{literal(name)} {count:,}" for name, count in found.items())
        told = [f"{n:,} image{'s' * (n != 1)}, {self.per_second:.0f} a second: {counts}."]
        far, known = int(self.images["far"].sum()), self.images[self.images["label"] != ""]
        told.append(f"How far they lie from the training images is not known: {self.no_distance}." if self.no_distance else
                    f"{far:,} ({percent(far / n)}) lie farther from the training images than 99% of the validation images "
                    f"do (distance {self.limit:.2f}): the network may not know what they show.")
        if len(known):
            rate = float((known["label"] == known["predicted"]).mean())
            low, high = map(percent, wilson_interval(rate, len(known)))
            told.append(f"Of {len(known):,} in folders named as classes, {percent(rate)} are classified as that class (95% "
                        f"interval {low} to {high}).")
        if len(self.unreadable):
            told.append(f"{len(self.unreadable):,} file{'s' * (len(self.unreadable) > 1)} could not be read.")
        return told


def predict_folder(run: str, folder: str | Path, out: str | Path | None = None, *, device: str = "auto",
                   batch_size: int = 32, bar: bool = False) -> Predicted:
    """Predict the classes of all images below a folder with the network of a run, and write them to a CSV file.

    A row for each image: path, label, predicted, confidence, distance, far, prob_<class>... Memory does not grow with the
    scores. `out`: the file, else predicted/<folder>.csv in the run folder. Raises ValueError where there is no trained
    network, no such folder, or no image in it that can be read.
    """
    known, root = RunFolder(run, make=False), Path(folder).expanduser()
    model, saved = load_network(known)
    paths, refused = list_images(root)
    file = Path(out) if out else known.path("predicted", f"{root.resolve().name}.csv")
    file.parent.mkdir(parents=True, exist_ok=True)
    model = model.to(choose_device(device)).eval()
    try:
        familiar, no_distance = Familiar.of(known, model), ""
    except ValueError as error:
        familiar, no_distance = None, str(error).rstrip(".")
    in_parts, start, unreadable, tables = InParts(), time.perf_counter(), list(refused.items()), list[pd.DataFrame]()
    with atomic_write(file) as temporary, open(temporary, "w", encoding="utf-8", newline="") as opened:
        for names, images in _read_ahead(root, paths, make_transform(saved.preprocessing, saved.image_size), batch_size,
                                         unreadable, bar):
            table = _predict_batch(model, saved, familiar, in_parts, names, images)
            _append(opened, table, first=not tables)
            tables.append(table[["path", "label", "predicted", "confidence", "distance", "far"]])
        if not tables:
            raise ValueError(f"None of the {len(paths):,} images of {visible(str(root))} can be read: the first is "
                             f"{visible(unreadable[0][0])} ({unreadable[0][1]}).")
    return Predicted(root, file, pd.concat(tables, ignore_index=True), pd.DataFrame(unreadable, columns=["path", "reason"]),
                     familiar.limit if familiar else float("nan"), no_distance,
                     (len(paths) - len(unreadable) + len(refused)) / (time.perf_counter() - start))


def list_images(root: Path) -> tuple[list[str], dict[str, str]]:
    """The paths of all images below a folder, however deep, and {path: reason} of those that are of no use."""
    if not root.is_dir():
        raise ValueError(f"There is no folder {visible(str(root))}: give the folder of the images to predict.")
    listing = Listing(root)
    listing.add(root, "")
    if not listing.rows:
        raise ValueError(f"The folder {visible(str(root))} contains no image that can be read.")
    return [path for path, *_ in listing.rows], listing.refused


def _read_ahead(root: Path, paths: Sequence[str], transform: Callable, batch_size: int, unreadable: list[tuple[str, str]],
                bar: bool) -> Iterator[tuple[list[str], torch.Tensor]]:
    """Paths and images (B, C, H, W) of each batch, the next of which is decoded meanwhile; notes what cannot be read."""
    def read(path: str) -> torch.Tensor | str:
        try:
            return transform(decode_image(root / path))
        except Exception as error:  # decoders raise many kinds; each means that this file is not an image we can use
            return str(error).replace(f"{root}{os.sep}", "") or type(error).__name__
    chunks = [paths[at:at + batch_size] for at in range(0, len(paths), batch_size)]
    with ThreadPoolExecutor(count_cores()) as pool, tqdm(total=len(paths), disable=not bar, desc="predicting",
                                                         unit=" images") as progress:
        waiting = [pool.submit(read, path) for path in chunks[0]]
        for number, chunk in enumerate(chunks):
            found = dict(zip(chunk, (future.result() for future in waiting), strict=True))
            waiting = [pool.submit(read, path) for path in chunks[number + 1]] if number + 1 < len(chunks) else []
            unreadable += [(path, image) for path, image in found.items() if isinstance(image, str)]
            good = {path: image for path, image in found.items() if isinstance(image, torch.Tensor)}
            if good:
                yield list(good), torch.stack(list(good.values()))
            progress.update(len(chunk))


@torch.inference_mode()
def _predict_batch(model: nn.Module, saved: SavedModel, familiar: Familiar | None, in_parts: InParts,
                   names: Sequence[str], images: torch.Tensor) -> pd.DataFrame:
    """The rows of a batch: what the network says, and how far the images lie from what it knows."""
    device = next(model.parameters()).device
    with kept_inputs(model.get_submodule(classifier_name(model))) as features:
        logits = torch.cat(in_parts(lambda part: model(to_device(part, device)), images))
    scores = logits.cpu().double().softmax(1)
    confidence, best = scores.max(1)
    folders = [Path(name).parent.name for name in names]
    table = pd.DataFrame({"path": names, "label": [name if name in saved.classes else "" for name in folders],
                          "predicted": [saved.classes[place] for place in best], "confidence": confidence.numpy(),
                          "distance": familiar.distances(torch.cat(features)) if familiar else float("nan")})
    table["far"] = table["distance"] > (familiar.limit if familiar else float("inf"))
    return table.join(pd.DataFrame(scores.numpy(), columns=[f"prob_{name}" for name in saved.classes]))


def _append(opened: TextIO, table: pd.DataFrame, *, first: bool) -> None:
    """Write rows of a table behind those that are there, with the names of the columns before the first."""
    opened.write(csv_text(table, header=first))
