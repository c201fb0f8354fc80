"""Sentences on images, their sizes and their split, made from their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from inside.text import listed, literal, natural_sort


def describe_sizes(sizes: pd.DataFrame) -> str:
    """How many images the classes of a `size_table` have, from the smallest to the largest."""
    low, high = int(sizes["images"].min()), int(sizes["images"].max())
    if len(sizes) == 1:
        return f"The only class has {_counted(low, 'image')}."
    if low == high:
        return f"All {len(sizes)} classes have {_counted(low, 'image')} each."
    small, large = (listed(list(sizes.loc[sizes["images"] == end, "class"].map(literal))) for end in (low, high))
    return f"The classes have from {low:,} images ({small}) to {high:,} ({large})."


def describe_conflicts(duplicates: pd.DataFrame) -> str:
    """Which labels the groups of a `duplicate_table` carry that have several."""
    labels = duplicates[duplicates["conflicting"]].groupby("group")["label"]
    counts = labels.agg(lambda found: " and ".join(map(literal, natural_sort(set(found))))).value_counts().sort_index()
    if counts.empty:
        return "No group of identical images carries different labels."
    named = [f"{pair} ({count:,} groups)" if count > 1 else pair for pair, count in counts.items()]
    told = "; ".join(named[:4] + [f"{len(named) - 4:,} more"] * (len(named) > 4))
    groups = int(counts.sum())
    return (f"{_counted(groups, 'group')} of identical images {'carries' if groups == 1 else 'carry'} different labels: "
            f"{told}.")


def describe_counts(counts: pd.DataFrame) -> str:
    """How the images of a `class_counts` are divided, and how far the share of a class differs between the parts."""
    parts = ("train", "val", "test")
    totals = counts[list(parts)].iloc[-1].astype(int)
    shares = counts[[f"{part} %" for part in parts]].iloc[:-1]
    apart = float((shares.max(axis=1) - shares.min(axis=1)).max())
    told = f"{totals['train']:,} images to train, {totals['val']:,} to validate and {totals['test']:,} to test"
    if round(apart, 1) == 0:
        return f"{told}; every class has the same share of each."
    return f"{told}; the share of a class differs by at most {apart:.1f} percentage points between them."


def describe_overlaps(overlaps: pd.DataFrame) -> str:
    """What the parts of a split share, from `split_overlaps`."""
    shared = overlaps[(overlaps["shared paths"] > 0) | (overlaps["shared content"] > 0)]
    told = " ".join(f"{row['parts']} share {_counted(row['shared paths'], 'path')} and "
                    f"{_counted(row['shared content'], 'decoded image')}." for row in shared.to_dict("records"))
    told = told or "Train, validation and test have no file and no decoded image in common."
    if "near duplicates" not in overlaps:
        return told
    pairs = int(overlaps["near duplicates"].sum())
    return f"{told} " + (f"{_counted(pairs, 'pair')} of near duplicates {'lies' if pairs == 1 else 'lie'} in two of them."
                         if pairs else "No pair of near duplicates lies in two of them.")


def describe_draws(evaluated: np.ndarray, draws: Sequence[np.ndarray], augmentation: str) -> str:
    """How far draws of an augmentation are from the image as it is evaluated, (H,W,3) levels each."""
    apart = [float(np.abs(draw.astype(float) - evaluated).mean()) for draw in draws]
    if max(apart, default=0) < 0.5:
        return f"With the augmentation “{augmentation}” training sees the image as it is evaluated."
    low, high = f"{min(apart):.0f}", f"{max(apart):.0f}"
    told = low if low == high else f"{low} to {high}"
    return (f"The augmentation “{augmentation}” changes the pixels of this image by {told} of 255 levels on average, "
            "depending on the draw.")


def describe_preprocessing(preprocessing: Mapping) -> str:
    """How images become input: interpolation, and the mean and standard deviation of each channel."""
    mean, std = (", ".join(f"{value:.3g}" for value in preprocessing[name]) for name in ("mean", "std"))
    return f"{preprocessing['interpolation']} interpolation; mean {mean} and standard deviation {std} of the channels"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
