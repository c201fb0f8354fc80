"""How far two images show the same details once one is laid upon the other."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

SIDE = 64  # pixels of a thumbnail's side
LEVELS = ((16, 5), (32, 3))  # pixels of a side, and steps, from coarse to fine
WINDOW = 0.86  # of width and height: what a crop leaves in common
SCALES, SHIFTS = (0.88, 1.14), 0.14  # how far an image may be stretched, and moved, of half its side
DETAIL = 2  # pixels: radius of the box whose mean is taken away


def detail_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The correlation (N,) of the details of grey thumbnails (N, SIDE, SIDE), aligned pair by pair.

    One image is stretched and moved (horizontally and vertically) onto the other, and the other onto it: the higher of the
    two. Details are what remains of an image without its local mean: skies, horizons and slopes, which many images share,
    have few.
    """
    if not len(first):
        return np.empty(0, np.float32)
    pairs = (torch.from_numpy(np.asarray(images, np.float32) / 255) for images in (first, second))
    found = [torch.maximum(_correlate(a, b), _correlate(b, a))
             for a, b in zip(*(part.split(256) for part in pairs), strict=True)]
    return torch.cat(found).numpy()


def _correlate(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    moved, inside = _sample(second, _align(first, second))
    weight = inside / inside.sum((1, 2), keepdim=True)
    first, moved = (image - (image * weight).sum((1, 2), keepdim=True) for image in map(_details, (first, moved)))
    together, *alone = ((one * other * weight).sum((1, 2)) for one, other in (
        (first, moved), (first, first), (moved, moved)))
    return together / (alone[0] * alone[1] + 1e-12).sqrt()


def _details(images: torch.Tensor) -> torch.Tensor:
    padded = functional.pad(images[:, None], (DETAIL,) * 4, mode="replicate")
    return images - functional.avg_pool2d(padded, 2 * DETAIL + 1, 1)[:, 0]


def _align(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Scales and shifts (N, 4: x, y, x, y) that lay the second images onto the first ones, in halves of a side.

    Inverse compositional Gauss-Newton steps (Baker and Matthews 2004) on grey levels without mean and contrast.
    """
    at_rest = torch.tensor([1.0, 1, 0, 0]).repeat(len(first), 1)
    place = at_rest
    for side, steps in LEVELS:
        fixed, moving = (functional.adaptive_avg_pool2d(images[:, None], side)[:, 0] for images in (first, second))
        fixed = _standardised(_sample(fixed, at_rest, WINDOW)[0])
        axis = ((torch.arange(side) + 0.5) / side * 2 - 1) * WINDOW
        dy, dx = torch.gradient(fixed, spacing=float(axis[1] - axis[0]), dim=(1, 2))
        slopes = torch.stack([dx * axis, dy * axis[:, None], dx, dy], -1).flatten(1, 2)
        curvature = slopes.mT @ slopes
        ridge = 1e-3 * curvature.diagonal(dim1=1, dim2=2).mean(1) + 1e-6
        solve = torch.linalg.solve(curvature + ridge[:, None, None] * torch.eye(4), slopes.mT)
        for _ in range(steps):
            off = _standardised(_sample(moving, place, WINDOW)[0]) - fixed
            step = (solve @ off.flatten(1)[..., None])[..., 0].clamp(-0.1, 0.1)
            scale = place[:, :2] / (1 + step[:, :2])
            place = torch.cat([scale.clamp(*SCALES), (place[:, 2:] - scale * step[:, 2:]).clamp(-SHIFTS, SHIFTS)], 1)
    return place


def _sample(images: torch.Tensor, place: torch.Tensor, window: float = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """The images (N, H, W) stretched and moved, of which the middle `window`; and where that lies within the image."""
    affine = torch.zeros(len(images), 2, 3)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = place[:, 0] * window, place[:, 1] * window, place[:, 2:]
    grid = functional.affine_grid(affine, [len(images), 1, *images.shape[1:]], align_corners=False)
    found = functional.grid_sample(images[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    return found, (grid.abs() <= 1).all(-1)


def _standardised(images: torch.Tensor) -> torch.Tensor:
    images = images - images.mean((1, 2), keepdim=True)
    return images / (images.square().mean((1, 2), keepdim=True).sqrt() + 1e-3)
