"""What only the images can tell: whether they are those of the split, and whether the weights give these predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from inside.data.listing import list_folder
from inside.data.table import examine_images
from inside.device import choose_device
from inside.evaluation.calibration import class_names
from inside.evaluation.predictions import evaluation_loader, predict
from inside.files import RunFolder
from inside.many_runs.check.files import HandIn
from inside.many_runs.check.rows import DIFFERS, HOLDS, UNDECIDED, Row, number_of
from inside.models.saved import SavedModel, load_network
from inside.settings import PARAMETERS
from inside.text import brief, percent, visible

# Predictions are computed in float32, whatever the precision of training. Other instructions (AVX2 against AVX-512), other
# numbers of threads and batches change scores by up to about 1e-5; GPUs may round the factors of convolutions to
# 10 bits (TF32), about 1e-3 of a logit. The class may differ only where two scores are as near to each other as that.
WITHIN = {"cpu": 1e-3}
ON_A_CARD = 3e-2


def check_images(hand_in: HandIn, root: Path) -> Iterator[Row]:
    """Whether the images of split.csv are in this folder, below folders of these classes, with these pixels."""
    table = hand_in.split.table
    known = {path: label for path, label, _ in list_folder(root).rows}
    gone = ~table["path"].isin(known)
    if gone.all():
        yield Row("the images", UNDECIDED, number_of(len(table), "image"), "none is there", remark="is it another folder?")
        return
    here = table[~gone]
    examined = examine_images(root, here["path"])
    pixels = here["path"].map(dict(zip(examined["path"], examined["sha256"], strict=True)))
    for what, wrong in (("its images are in the folder", table["path"][gone]),
                        ("labels are the names of folders", here["path"][here["label"] != here["path"].map(known)]),
                        ("sha256 are those of the pixels", here["path"][here["sha256"] != pixels])):
        told = f"{number_of(len(wrong), 'image')}: {', '.join(map(visible, wrong.head(3)))}" if len(wrong) else ""
        yield Row(f"split.csv: {what}", DIFFERS if len(wrong) else HOLDS, number_of(len(table), "image"), remark=told)


def check_weights(hand_in: HandIn, part: str, root: Path) -> Iterator[Row]:
    """Whether the weights give the predictions of a part. Networks are those of our lists, and nothing is fetched."""
    for name in ("model.json", "model.safetensors"):
        hand_in.path(name)
    run, told = RunFolder(str(hand_in.folder.resolve()), make=False), hand_in.predictions(part)
    described = SavedModel.of(run)
    PARAMETERS["IMAGE_SIZE"].check(described.image_size)
    if described.classes != class_names(told):
        raise ValueError(f"model.json has the classes {brief(described.classes)}, predictions_{part}.csv has others.")
    model, saved = load_network(run)
    split = dataclasses.replace(hand_in.split, root=root)
    device = choose_device("auto")
    scores, _ = predict(model.to(device), evaluation_loader(saved, split, split.parts[part]))
    yield _verdict(part, told, scores, WITHIN["cpu"] if device.type == saved.device == "cpu" else ON_A_CARD)


def _verdict(part: str, told: pd.DataFrame, scores: np.ndarray, within: float) -> Row:
    own = told[[f"prob_{name}" for name in class_names(told)]].to_numpy()
    what = f"predictions_{part}.csv: predicted again from the weights"
    if own.shape != scores.shape:
        return Row(what, DIFFERS, number_of(len(own), "image"), number_of(len(scores), "image"))
    classes, far = np.asarray(class_names(told), dtype=object), np.abs(own - scores).max(axis=1)
    shares = [(told["label"] == best).mean() for best in (told["predicted"], classes[scores.argmax(axis=1)])]
    wrong, remark = told["path"][far > within], f"largest difference of a score {far.max():.1e}"
    if len(wrong):
        remark = (f"scores of {number_of(len(wrong), 'image')} differ by more than {within:g}: "
                  f"{', '.join(map(visible, wrong.head(3)))}")
    first, second = (f"accuracy {percent(share)}" for share in shares)
    return Row(what, DIFFERS if len(wrong) else HOLDS, first, second, remark=remark)
