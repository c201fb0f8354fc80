"""What notebook 01 shows of its images: sizes, samples, duplicates, an augmentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from inside.data.grids import draw_samples, plot_augmentation, plot_images, short_paths
from inside.data.sources import ImageSet
from inside.data.split import Split, class_counts, describe_split
from inside.data.table import describe_duplicates, duplicate_table, load_image, size_table
from inside.shown import Figure, Shown, Table, Text


def report_images(images: ImageSet, bad: pd.DataFrame, *, seed: int) -> list[Shown]:
    """Sizes by class, the files that could not be decoded where there are any, and images drawn from each class."""
    about = (f"**{images.name}**: {images.about}. {len(images.table):,} images in {len(images.classes)} classes; "
             f"{len(bad)} could not be decoded.")
    shown: list[Shown] = [Text(about), Table(size_table(images.table), "image_sizes")]
    if len(bad):
        shown.append(Table(bad, "bad_images", rows=10))
    sample = draw_samples(images.table, seed=seed)
    pictures = [load_image(images.root / path) for path in sample["path"]]
    texts = [f"{label}\n{name}" for label, name in zip(sample["label"], short_paths(sample["path"]), strict=True)]
    names = ", ".join(sample["label"].unique())
    return [*shown, Figure(plot_images(pictures, texts, columns=6), "samples",
                           f"Images drawn at random from each class, with their files: {names}.")]


def report_duplicates(images: ImageSet, *, at_most: int = 12) -> list[Shown]:
    """How many images share their pixels; where some do, a table of them, and pictures of those whose labels differ."""
    duplicates = duplicate_table(images.table)
    shown: list[Shown] = [Text(describe_duplicates(duplicates))]
    if len(duplicates):
        shown.append(Table(duplicates, "duplicates", rows=at_most))
    conflicts = duplicates[duplicates["conflicting"]].head(at_most)
    if len(conflicts):
        pictures = [load_image(images.root / path) for path in conflicts["path"]]
        names = short_paths(conflicts["path"], width=28)
        texts = [f"group {group}\n{name}" for group, name in zip(conflicts["group"], names, strict=True)]
        shown.append(Figure(plot_images(pictures, texts, columns=4, size=2.4), "label_conflicts",
                            f"Suspected label errors, identical within a group: {'; '.join(conflicts['path'])}."))
    return shown


def report_split(split: Split, sizes: Sequence[float]) -> list[Shown]:
    """Images by class and part, and how near they come to the `sizes` asked for; of a split that is not read from a file."""
    return [Table(class_counts(split.table), "split_counts", digits=1), Text.bullets(describe_split(split.table, sizes))]


def report_augmentation(split: Split, transforms: Mapping[str, Callable], preprocessing: Mapping, *, seed: int,
                        augmentation: str) -> list[Shown]:
    """Three training images of different classes, as they are evaluated and as training may see them."""
    three = split.parts["train"].groupby("label").head(1).head(3)
    fig = plot_augmentation(three, split.root, transforms, preprocessing, seed=seed)
    told = (f"Training images, a row each ({', '.join(three['path'])}): on the left as evaluated, beside it draws of the "
            f"augmentation “{augmentation}”.")
    return [Figure(fig, "augmentation", told)]
