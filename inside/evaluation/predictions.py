"""What a network predicts, kept in a table; rankings and confusions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from inside.data.loading import ImageDataset, make_loader, to_device
from inside.data.split import Split
from inside.data.transforms import make_transform
from inside.device import InParts
from inside.evaluation.calibration import class_names
from inside.files import RunFolder, file_hash, fingerprint, read_csv, read_json, write_csv
from inside.models.saved import SavedModel, load_network
from inside.models.surgery import kept_modes
from inside.processes import gather, pass_over
from inside.text import did_you_mean


@torch.inference_mode()
def predict(model: nn.Module, loader: DataLoader, *, precision: torch.dtype = torch.float32,
            bar: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Softmax scores (N, classes) float64 and cross-entropy losses (N,) of all images, in the order of the loader.

    Where several processes compute, each scores its share (see `make_loader`) and gets the results of all.
    """
    device, logits, wanted, in_parts = next(model.parameters()).device, [], [], InParts()
    with kept_modes(model), torch.autocast(device.type, precision, enabled=precision != torch.float32):
        model.eval()
        for images, targets in tqdm(loader, leave=False, disable=not bar, desc="predicting"):
            logits += in_parts(lambda part: model(to_device(part, device)), images)
            wanted.append(targets)
    found = gather((torch.cat(logits).cpu(), torch.cat(wanted)) if logits else ())
    all_logits, all_wanted = map(torch.cat, zip(*filter(None, found), strict=True))
    log_scores = all_logits.double().log_softmax(1)
    losses = nn.functional.nll_loss(log_scores, all_wanted, reduction="none")
    return log_scores.exp().numpy(), losses.numpy()


def _predict_share(images: ImageDataset, batch_size: int, workers: int | str, bar: bool,
                   model: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    loader = make_loader(images, batch_size=batch_size, workers=workers, device=next(model.parameters()).device)
    return predict(model, loader, bar=bar)


def prediction_table(table: pd.DataFrame, scores: np.ndarray, losses: np.ndarray,
                     classes: Sequence[str]) -> pd.DataFrame:
    """path, label, predicted, confidence, loss, prob_<class>...; one row an image, in the order of `table`."""
    predictions = pd.DataFrame({"path": table["path"].to_numpy(), "label": table["label"].to_numpy(),
                                "predicted": np.asarray(classes)[scores.argmax(1)],
                                "confidence": scores.max(1), "loss": losses})
    return predictions.join(pd.DataFrame(scores, columns=[f"prob_{name}" for name in classes]))


def evaluation_loader(saved: SavedModel, split: Split, table: pd.DataFrame, workers: int | str = "auto") -> DataLoader:
    """Images of a split, the rows of `table`, as the saved network is evaluated on them: in order, not augmented."""
    transform = make_transform(saved.preprocessing, saved.image_size)
    return make_loader(ImageDataset(table, split.root, saved.classes, transform),
                       batch_size=saved.settings.get("BATCH_SIZE", 32), workers=workers)


def saved_predictions(run: RunFolder, part: str, model: nn.Module, split: Split, *, bar: bool = False,
                      workers: int | str = "auto", processes: int | str = 1) -> pd.DataFrame:
    """The predictions of a part of the split by the network that the run has saved, also written to predictions_<part>.csv.

    In float32. Where that file was made by the same weights from the same images, it is read instead. `workers`: see
    `make_loader`, `processes`: see `pass_over`.
    """
    name, table, saved = f"predictions_{part}.csv", split.parts[part], SavedModel.of(run)
    told = read_json(run.path("model.json"))
    described = {key: value for key, value in told.items() if key not in ("temperature", "root")}
    stamp = fingerprint(file_hash(run.path("model.safetensors")), described, table[["path", "label", "sha256"]])
    if not run.is_current(stamp, name):
        loader = evaluation_loader(saved, split, table, workers)
        work = partial(_predict_share, loader.dataset, loader.batch_size, workers, bar)
        scores, losses = pass_over(work, model, processes, batches=len(loader))
        if n := int((~np.isfinite(scores)).any(axis=1).sum()):
            raise ValueError(f"The network of the run {run.name!r} gives scores that are NaN for {n:,} of {len(scores):,} "
                             f"images of {part}: set TRAIN = True, with a lower LEARNING_RATE.")
        write_csv(run.path(name), prediction_table(table, scores, losses, saved.classes))
        run.mark(stamp, name)
    return read_csv(run.path(name), texts=("path", "label", "predicted"))  # classes can be called 0, 1, 2


def check_reloaded(run: RunFolder, split: Split, predictions: pd.DataFrame, *, device: torch.device, at_most: int = 500,
                   tolerance: float = 1e-4, workers: int | str = "auto") -> dict:
    """Load the saved network once more, score test images again and compare with their saved softmax scores.

    `predictions` are those of all test images, of which about `at_most` are checked, evenly spread. Returns {checked,
    max_difference, tolerance}; raises ValueError when the largest difference is above the tolerance.
    """
    again = split.parts["test"].iloc[::max(1, len(split.parts["test"]) // at_most)]
    model, saved = load_network(run)
    scores, _ = predict(model.to(device), evaluation_loader(saved, split, again, workers))
    wanted = predictions.loc[again.index, [f"prob_{name}" for name in saved.classes]].to_numpy()
    difference = float(np.abs(scores - wanted).max())
    if not difference <= tolerance:
        raise ValueError(f"The saved network gives other scores than those saved: they differ by {difference:.2g}, more "
                         f"than {tolerance:g}. Delete {run.folder} and run notebook 01 again.")
    return {"checked": len(wanted), "max_difference": difference, "tolerance": tolerance}


def top_and_bottom(predictions: pd.DataFrame, name: str, *, n: int = 10) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The n images that the network scores highest for class `name`, and the n lowest (lowest last)."""
    classes = class_names(predictions)
    if name not in classes:
        raise ValueError(f"RANKED_CLASSES names {name!r}, which is no class: {did_you_mean(name, classes)}")
    order = predictions.sort_values([f"prob_{name}", "path"], ascending=[False, True])
    return order.head(n), order.tail(n)
