"""Does hiding what an attribution points at cost confidence?"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from inside.attribution.cam import class_activation_maps
from inside.attribution.inputs import _batch, _logits
from inside.attribution.randomisation import can_be_ranked, images_before
from inside.feature_maps.hooks import eval_mode


def top_fraction_mask(maps: np.ndarray, share: float = 0.1) -> np.ndarray:
    """Masks (N,H,W) of the `share` of pixels where maps (N,H,W) are highest: round(share·H·W) of them in each."""
    flat = maps.reshape(len(maps), -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :round(share * flat.shape[1])]
    masks = np.zeros(flat.shape, dtype=bool)
    np.put_along_axis(masks, order, True, axis=1)
    return masks.reshape(maps.shape)


OCCLUSIONS = ("hottest tenth", "random tenth", "hottest tenth of another image")


def occlusion_masks(maps: np.ndarray, *, share: float = 0.1, seed: int = 0) -> dict[str, np.ndarray]:
    """Masks (N,H,W) to hide, each of the same area: see `occlusion_check`. Another map is one that points somewhere."""
    masks, rng = top_fraction_mask(maps, share), np.random.default_rng(seed)
    moved = np.stack([move_within(mask, rng) for mask in masks])
    others = np.stack([masks[image if other is None else other] for image, other in enumerate(images_before(maps))])
    return dict(zip(OCCLUSIONS, (masks, moved, others), strict=True))


def move_within(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The shape of a mask (H,W) at a random place of those at which the whole of it lies within the image.

    It is mirrored at random too: a shape that reaches from border to border could not be moved otherwise.
    """
    moved = np.flip(mask, tuple(axis for axis in (0, 1) if rng.random() < 0.5))
    for axis in (0, 1):
        taken = np.flatnonzero(moved.any(1 - axis))
        if len(taken):
            moved = np.roll(moved, rng.integers(-taken[0], moved.shape[axis] - taken[-1]), axis)
    return moved


def occlusion_check(model: nn.Module, images: Tensor, *, share: float = 0.1, seed: int = 0,
                    batch_size: int = 32) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Does hiding what the class activation map points at lower the confidence more than hiding something else?

    For images (N,C,H,W) and the predicted class: the confidence, and the drop (points of probability, negative where it
    rises) when a part is set to 0, the mean colour of the preprocessing: the pixels of the hottest `share` of the map; the
    same shape at a random place within the image (`move_within`); and the hottest part of the map of the previous image that
    has one, which knows where things usually are, but not this image. Columns image, confidence, then one of OCCLUSIONS each
    (NaN where the map is constant, or is the only one that is not); and the masks.
    Source of the idea: Petsiuk et al., RISE (2018), deletion; here one share, and against moved shapes.
    """
    found = [class_activation_maps(model, part) for part in images.split(batch_size)]
    maps = np.concatenate([part.enlarged(images.shape[-2:]) for part in found])
    targets = torch.from_numpy(np.concatenate([part.targets for part in found]))
    table = pd.DataFrame({"image": range(len(images)), "confidence": np.concatenate([part.confidence for part in found])})
    masks = occlusion_masks(maps, share=share, seed=seed)
    for name, hidden in masks.items():
        left = images * torch.from_numpy(~hidden)[:, None]
        table[name] = table["confidence"] - confidences(model, left, targets, batch_size=batch_size)
    table.loc[[not can_be_ranked(values) for values in maps], list(OCCLUSIONS)] = math.nan
    table.loc[[other is None for other in images_before(maps)], OCCLUSIONS[2]] = math.nan
    return table, masks


@torch.no_grad()
def confidences(model: nn.Module, images: Tensor, targets: Tensor, *, batch_size: int = 32) -> np.ndarray:
    """Softmax score (N,) of class `targets` (N,) for images (N,C,H,W)."""
    with eval_mode(model):
        logits = torch.cat([_logits(model, _batch(model, part)).cpu().double() for part in images.split(batch_size)])
    return logits.softmax(1).gather(1, targets.cpu()[:, None])[:, 0].numpy()


def typical_image(table: pd.DataFrame) -> int | None:
    """The row of an occlusion check whose drops are nearest to their means; None where no image has all drops.

    Of the rows, if there are any, in which the hottest tenth differs from each of the others in the direction of the mean.
    """
    drops = table.dropna()[list(OCCLUSIONS)]
    if drops.empty:
        return None
    mean, others = drops.mean(), list(OCCLUSIONS[1:])
    directions = np.sign(drops[others].rsub(drops[OCCLUSIONS[0]], axis=0))
    agree = (directions == np.sign(mean[OCCLUSIONS[0]] - mean[others])).all(axis=1)
    chosen = drops[agree] if agree.any() else drops
    return int(table.index.get_loc((chosen - mean).pow(2).sum(axis=1).idxmin()))
