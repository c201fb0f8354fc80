"""Pretrained features of images, by their pixels: of a network that no run trains, so that all runs can share them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from inside import files
from inside.data.loading import ImageDataset, make_loader, to_device
from inside.data.pixels import Pixels, PixelWriter
from inside.data.transforms import make_transform
from inside.device import InParts
from inside.files import one_at_a_time
from inside.models.build import build_network
from inside.models.surgery import classifier_name

NETWORK, SIZE = "efficientnet_lite0", 128  # its weights come as a package; images are resized to SIZE × SIZE pixels
BATCH = 32


def image_dataset(table: pd.DataFrame, root: Path) -> ImageDataset:
    """The images of a table, as NETWORK takes them; those too large for the cache of decoded images are kept as resized."""
    _, preprocessing = build_network(NETWORK, 1, weights="random")
    images = ImageDataset(table, root, table["label"].unique(), make_transform(preprocessing, SIZE))
    images.keep_resized()
    return images


def pretrained_features(table: pd.DataFrame, root: Path, *, device: torch.device | None = None,
                        bar: bool = False) -> np.ndarray:
    """The pooled features (N, 1280) float32 of NETWORK with its ImageNet weights, for the rows of an image table.

    Computed once for each picture and kept in data/cache/features/ as float16 by the hash of its pixels.
    """
    folder = files.DATA / "cache" / "features"
    keys = table["sha256"] + f" {NETWORK} {SIZE}"
    kept, computed = Pixels(folder), dict[str, np.ndarray]()
    if not set(keys) <= kept.places.keys():
        with one_at_a_time(folder), PixelWriter(folder, "pretrained features") as writer:
            kept = Pixels(folder)  # another process may have computed them
            new = table[~keys.isin(kept.places)].drop_duplicates("sha256")
            for key, row in zip(keys[new.index], _compute(new, root, device or torch.device("cpu"), bar), strict=True):
                computed[key] = row
                writer.add(key, row)
    rows = [computed[key] if key in computed else kept.places[key].get_tensor(key).numpy() for key in keys]
    return np.stack(rows).astype(np.float32) if rows else np.empty((0, 1280), np.float32)


@torch.inference_mode()
def _compute(table: pd.DataFrame, root: Path, device: torch.device, bar: bool) -> np.ndarray:
    """The features (N, 1280) float16 of the rows of a table, in one pass."""
    if table.empty:
        return np.empty((0, 0), np.float16)
    model, _ = build_network(NETWORK, 1)
    model.set_submodule(classifier_name(model), nn.Identity())
    model, in_parts, found = model.to(device).eval(), InParts(), list[torch.Tensor]()
    loader = make_loader(image_dataset(table, root), batch_size=BATCH, workers="auto", device=device)
    for images, _ in tqdm(loader, leave=False, disable=not bar, desc="pretrained features"):
        found += in_parts(lambda part: model(to_device(part, device)), images)
    return torch.cat(found).half().cpu().numpy()
