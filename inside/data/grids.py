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
from inside.text import format_share, natural_sort

WIDTH = 10.6  # inches: the width of the report's page
FRAMES = {True: ("✓", "#009e73"), False: ("✗", "#d55e00")}  # predicted right, wrong


def plot_images(images: Sequence[PILImage.Image], captions: Sequence[str], *, columns: int, size: float = 1.55,
                right: Sequence[bool | None] | None = None, titles: Sequence[str] = ()) -> plt.Figure:
    """A grid of images, row by row, each with a caption under it; `titles` stand over rows, in their order ("": none).

    `right` frames images, green with ✓ where one is predicted right, vermilion with ✗ where it is not; None frames nothing.
    """
    rows, fontsize = math.ceil(len(images) / columns), 7.5 if size < 1.5 else 8
    lines = max((caption.count("\n") + 1 for caption in captions if caption), default=0)
    height = rows * (size + 0.021 * fontsize * lines) + 0.3 * sum(map(bool, titles))
    fig, axes = plt.subplots(rows, columns, figsize=(columns * size, height), squeeze=False, layout="constrained")
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    for index, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[])
        ax.set_visible(index < len(images))
        ax.spines[:].set_visible(False)
        if index < len(images):
            ax.imshow(images[index], cmap="gray", vmin=0, vmax=255)
            ax.set_xlabel(captions[index], fontsize=fontsize, labelpad=3, parse_math=False)
            if right is not None and (predicted := right[index]) is not None:
                _frame(ax, bool(predicted))
    for ax, title in zip(axes[:, 0], titles, strict=False):
        ax.set_title(" " * bool(title), fontsize=10)  # holds the height; the title itself must not widen its column
        ax.annotate(title, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=10,
                    parse_math=False).set_in_layout(False)
    return fig


def _frame(ax: plt.Axes, right: bool) -> None:
    """The frame of an image, with its sign in a corner."""
    sign, color = FRAMES[right]
    ax.spines[:].set(visible=True, color=color, linewidth=2.5)
    ax.text(0.03, 0.97, sign, transform=ax.transAxes, ha="left", va="top", color="white", fontsize=9, fontweight="bold",
            bbox={"facecolor": color, "edgecolor": "white", "linewidth": 0.6, "pad": 1.5})


def draw_samples(table: pd.DataFrame, *, seed: int, per_class: int = 2, classes: int = 12) -> pd.DataFrame:
    """Rows of a table drawn at random: up to `per_class` different images of each of the first `classes` classes."""
    shuffled = table.sample(frac=1, random_state=seed)
    return pd.concat([shuffled[shuffled["label"] == label].head(per_class)
                      for label in natural_sort(table["label"].unique())[:classes]])


def draw_augmentation(path: Path, transforms: Mapping[str, Callable], preprocessing: Mapping, *, seed: int,
                      draws: int = 7) -> list[PILImage.Image]:
    """An image as the transform "eval" gives it, then `draws` draws of the transform "train"."""
    mean, std = (torch.tensor(preprocessing[name]).view(-1, 1, 1) for name in ("mean", "std"))
    image = load_image(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tensors = [transforms[kind](image) for kind in ("eval", *["train"] * draws)]
    return [to_pil_image((tensor * std + mean).clamp(0, 1)) for tensor in tensors]


def short_paths(paths: Iterable[str], width: int = 19) -> list[str]:
    """Captions for paths: folder and name, cut on the left to `width` characters.

    Different paths have different captions: where they would come out the same, more of each is shown, in lines of `width`.
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


def captions(predictions: pd.DataFrame, score_of: str | None, marks: Mapping[str, str], width: int = 17) -> list[str]:
    """Captions for a grid: class and file; under it the score, and after "→" the predicted class where that is wrong.

    `score_of` names the class whose score is shown, None: that of the predicted class. `marks` {path: sign} is put before
    the path, which is shortened by `short_paths`, without the ending where the rest tells the files apart.
    """
    stems, texts = predictions["path"].str.replace(r"\.\w+$", "", regex=True), []
    names = short_paths(stems if stems.nunique() == predictions["path"].nunique() else predictions["path"], width)
    for row, name in zip(predictions.to_dict("records"), names, strict=True):
        score = row[f"prob_{score_of or row['predicted']}"]
        number = f"{score:.1g}" if score < 0.001 else format_share(score)
        wrong = f" → {row['predicted']}" if row["label"] != row["predicted"] else ""
        told = number + wrong if len(number + wrong) <= width + 2 else f"{(number + wrong)[:width + 1]}…"
        texts.append(f"{marks.get(row['path'], '')}{name}\n{told}")
    return texts


def plot_predictions(predictions: pd.DataFrame, root: Path, *, columns: int, score_of: str | None = None,
                     marks: Mapping[str, str] | None = None, size: float | None = None,
                     titles: Sequence[str] = ()) -> plt.Figure:
    """A grid of images with their captions (see `captions`), framed by whether they are predicted right.

    `size` in inches per image; by default the grid is as wide as the page.
    """
    size = size or min(2.1, WIDTH / columns)
    texts = captions(predictions, score_of, marks or {}, width=max(9, round(16 * size)))
    images = [load_image(root / path) for path in predictions["path"]]
    right = (predictions["label"] == predictions["predicted"]).tolist()
    return plot_images(images, texts, columns=columns, right=right, size=size, titles=titles)
