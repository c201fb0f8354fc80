"""What notebook 01 shows of its images: sizes, samples, duplicates, an augmentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from inside.data.describe import describe_conflicts, describe_counts, describe_draws, describe_sizes
from inside.data.grids import WIDTH, draw_augmentation, draw_samples, plot_images, short_paths
from inside.data.ignore import describe_ignored
from inside.data.sources import ImageSet
from inside.data.split import Split, class_counts, describe_split
from inside.data.table import describe_duplicates, duplicate_table, load_image, size_table
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import literal


def report_images(images: ImageSet, bad: pd.DataFrame, *, seed: int) -> list[Shown]:
    """Sizes by class, the files that could not be decoded where there are any, and images drawn from each class."""
    lost = f"{len(bad):,} file{'s' * (len(bad) > 1)} could not be decoded" if len(bad) else "every file could be decoded"
    about = (f"**{literal(images.name)}**: {images.about}. {len(images.table):,} images in {len(images.classes)} classes; "
             f"{lost}.")
    notes = [Text.bullets(images.notes)] if images.notes else []
    sizes = size_table(images.table)
    told = f"{describe_sizes(sizes)} Widths and heights in pixels."
    shown: list[Shown] = [Text(about), *notes, Table(sizes, "image_sizes", told)]
    if len(bad):
        shown.append(Fold("Files that could not be decoded", (Table(bad, "bad_images", _bad_caption(bad), rows=10),)))
    return [*shown, *_report_samples(images, seed)]


def _bad_caption(bad: pd.DataFrame) -> str:
    reason, count = bad["reason"].value_counts().index[0], int(bad["reason"].value_counts().iloc[0])
    return f"The most frequent reason, {count:,} of {len(bad):,}: {reason}. These files are not used."


def _report_samples(images: ImageSet, seed: int) -> list[Shown]:
    """One row of images: two of each class where there are up to five classes, else one of each of the first ten."""
    per_class = 2 if len(images.classes) <= 5 else 1
    sample = draw_samples(images.table, seed=seed, per_class=per_class, classes=10)
    pictures = [load_image(images.root / path) for path in sample["path"]]
    size = min(1.75, WIDTH / len(sample))
    names = short_paths(sample["path"], width=round(10 * size) + 2)
    fig = plot_images(pictures, names, columns=len(sample), size=size)
    classes = list(sample["label"].unique())
    n = len(images.classes)
    which = "each class" if len(classes) == n else f"the first {len(classes)} of {n} classes"
    sides = sorted(set(zip(sample["width"], sample["height"], strict=True)))
    told = (f"These {len(sample)} images all have {sides[0][0]} × {sides[0][1]} pixels." if len(sides) == 1 else
            f"These {len(sample)} images have {len(sides)} different sizes, from {sides[0][0]} × {sides[0][1]} to "
            f"{sides[-1][0]} × {sides[-1][1]} pixels.")
    drawn = f"Up to {per_class} images" if per_class > 1 else "One image"
    files = ", ".join(sample["path"].map(literal))
    return [Figure(fig, "samples", f"Images drawn at random from {which}, with their files: {files}.",
                   f"{drawn} of {which}, drawn at random; below each, its folder and file."), Text(told)]


def report_duplicates(images: ImageSet, *, at_most: int = 12) -> list[Shown]:
    """How many images share their pixels; where some do, a table of them, and pictures of those whose labels differ."""
    duplicates = duplicate_table(images.table)
    shown: list[Shown] = [Text(describe_duplicates(duplicates))]
    conflicts = duplicates[duplicates["conflicting"]].head(at_most)
    if len(conflicts):
        pictures = [load_image(images.root / path) for path in conflicts["path"]]
        columns = min(6, len(conflicts))
        names = short_paths(conflicts["path"], width=20)
        texts = [f"group {group}\n{name}" for group, name in zip(conflicts["group"], names, strict=True)]
        fig = plot_images(pictures, texts, columns=columns, size=1.75)
        rest = duplicates["conflicting"].sum() - len(conflicts)
        shown += [Figure(fig, "label_conflicts",
                         f"Suspected label errors, identical within a group: {'; '.join(conflicts['path'].map(literal))}.",
                         f"{describe_conflicts(duplicates)} Images of the same group are identical, pixel by pixel; the "
                         "folder is the label."),
                  Text("A network that gets one image of such a group right gets at least one other of it wrong."
                       + (f" {rest:,} more images of such groups are in the table." if rest else ""))]
    if len(duplicates):
        caption = ("A row for each image that shares its decoded pixels with another; `conflicting`: its group carries "
                   "several labels.")
        shown.append(Fold("Images with the same pixels", (Table(duplicates, "duplicates", caption),)))
    return shown


def report_split(split: Split, sizes: Sequence[float], drawn: Split | None = None) -> list[Shown]:
    """Images by class and part, and how near they come to the `sizes` asked for; of a split that is not read from a file.

    `drawn`: the split before `ignore_images`.
    """
    counts, whole = class_counts(split.table), (drawn or split).table
    return [Table(counts, "split_counts", f"{describe_counts(counts)} Columns with %: the share of the class in that part.",
                  digits=1),
            Text.bullets([*describe_split(whole, sizes), *describe_ignored(whole, split.table)])]


def report_augmentation(split: Split, transforms: Mapping[str, Callable], preprocessing: Mapping, *, seed: int,
                        augmentation: str) -> list[Shown]:
    """A training image as it is evaluated and as training may see it."""
    path = split.parts["train"]["path"].iloc[0]
    pictures = draw_augmentation(split.root / path, transforms, preprocessing, seed=seed)
    texts = ["as evaluated", *(f"draw {number}" for number in range(1, len(pictures)))]
    fig = plot_images(pictures, texts, columns=len(pictures), size=WIDTH / len(pictures))
    (first, *draws), shown = (np.asarray(picture) for picture in pictures), f"The training image {literal(path)}"
    return [Figure(fig, "augmentation", f"{shown}: on the left as evaluated, beside it {len(draws)} "
                   f"draws of the augmentation “{augmentation}”.",
                   f"{shown} as it is evaluated, and {len(draws)} draws of it as training may see it."),
            Text(describe_draws(first, draws, augmentation))]
