"""Grids of images with captions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from PIL import Image as PILImage
from torchvision.transforms.functional import to_pil_image

from inside.data.table import load_image
from inside.text import natural_sort


def plot_images(images: Sequence[PILImage.Image], captions: Sequence[str], *, columns: int, title: str = "",
                colors: Sequence | None = None, size: float = 1.55) -> plt.Figure:
    """A grid of images, row by row, each with a caption under it; `colors` frame the images (None: no frame)."""
    rows = math.ceil(len(images) / columns)
    lines = max((caption.count("\n") + 1 for caption in captions if caption), default=0)
    fig, axes = plt.subplots(rows, columns, figsize=(columns * size, rows * (size + 0.17 * lines) + 0.3 * bool(title)),
                             squeeze=False, layout="constrained")
    for index, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[])
        ax.set_visible(index < len(images))
        if index < len(images):
            ax.imshow(images[index], cmap="gray", vmin=0, vmax=255)
            ax.set_xlabel(captions[index], fontsize=8, labelpad=3, parse_math=False)
            color = colors[index] if colors else None
            ax.spines[:].set(visible=color is not None, color=color or "white", linewidth=3)
    if title:
        fig.suptitle(title, fontsize=11, x=0.01, ha="left", parse_math=False)
    return fig


def draw_samples(table: pd.DataFrame, *, seed: int, per_class: int = 2, classes: int = 12) -> pd.DataFrame:
    """Rows of a table drawn at random: up to `per_class` different images of each of the first `classes` classes."""
    shuffled = table.sample(frac=1, random_state=seed)
    return pd.concat([shuffled[shuffled["label"] == label].head(per_class)
                      for label in natural_sort(table["label"].unique())[:classes]])


def plot_augmentation(table: pd.DataFrame, root: Path, transforms: Mapping[str, Callable], preprocessing: Mapping, *,
                      seed: int, draws: int = 7) -> plt.Figure:
    """A row an image of `table`: as the transform "eval" gives it, then `draws` draws of the transform "train"."""
    mean, std = (torch.tensor(preprocessing[name]).view(-1, 1, 1) for name in ("mean", "std"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        images = [load_image(root / path) for path in table["path"]]
        tensors = [transforms[kind](image) for image in images for kind in ("eval", *["train"] * draws)]
    shown = [to_pil_image((tensor * std + mean).clamp(0, 1)) for tensor in tensors]
    texts = [text for name in short_paths(table["path"]) for text in (f"{name}\nas evaluated", *[""] * draws)]
    return plot_images(shown, texts, columns=draws + 1)


def short_paths(paths: Iterable[str], width: int = 19) -> list[str]:
    """Captions for paths: folder and name, cut on the left to `width` characters.

    Different paths have different captions: where they would come out the same, more of them is shown, in lines of `width`.
    """
    paths = list(paths)
    lengths = dict.fromkeys(paths, width)
    while True:
        texts = {path: _path_end(path, length, whole=length > width) for path, length in lengths.items()}
        times = Counter(texts.values())
        alike = [path for path, text in texts.items() if times[text] > 1 and lengths[path] < max(len(path), width + 1)]
        if not alike:
            break
        lengths |= {path: lengths[path] + 1 for path in alike}
    return ["\n".join(texts[path][start:start + width] for start in range(0, len(texts[path]), width)) for path in paths]


def _path_end(path: str, length: int, *, whole: bool) -> str:
    """The last `length` characters of a path, or of its last two parts; "…" stands for what is cut."""
    name = path if whole else "/".join(path.split("/")[-2:])
    return name if len(name) <= length else f"…{name[1 - length:]}"


def captions(predictions: pd.DataFrame, score_of: str | None, marks: Mapping[str, str]) -> tuple[list[str], list]:
    """Captions (path, true class, predicted class, score) and frame colours (green right, vermilion wrong) for a grid.

    `score_of` names the class whose score is shown, None: that of the predicted class. `marks` {path: sign} is put
    before the path, which is shortened by `short_paths`.
    """
    texts, colors = [], []
    for row, name in zip(predictions.to_dict("records"), short_paths(predictions["path"]), strict=True):
        score = row[f"prob_{score_of or row['predicted']}"]
        number = f"{score:.3f}" if score >= 0.001 else f"{score:.0e}"
        texts.append(f"{marks.get(row['path'], '')}{name}\ntrue: {row['label']}\npredicted: {row['predicted']}\n"
                     f"score: {number}")
        colors.append("#009e73" if row["label"] == row["predicted"] else "#d55e00")
    return texts, colors


def plot_predictions(predictions: pd.DataFrame, root: Path, *, columns: int, score_of: str | None = None,
                     marks: Mapping[str, str] | None = None, title: str = "", size: float = 2.05) -> plt.Figure:
    """A grid of images with their captions (see `captions`), framed green where right and vermilion where wrong."""
    texts, colors = captions(predictions, score_of, marks or {})
    images = [load_image(root / path) for path in predictions["path"]]
    return plot_images(images, texts, columns=columns, colors=colors, title=title, size=size)
