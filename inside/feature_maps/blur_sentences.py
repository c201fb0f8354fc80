"""Sentences on the resolution control: what blur does to effective ranks, and what it does not explain."""

from __future__ import annotations

import pandas as pd

from inside.feature_maps.scenario_names import scenario_words
from inside.feature_maps.spectra_tables import ranks_by_layer


def describe_blur(table: pd.DataFrame) -> list[str]:
    """In how many layers reducing the images to 32×32 pixels lowers and raises the effective rank, and where most."""
    told, ranks = [], ranks_by_layer(table)
    for name in [x for x in ranks if x.endswith("_32px") and x.removesuffix("_32px") in ranks]:
        own = name.removesuffix("_32px")
        both = ranks[[own, name]].dropna().round(1)
        if both.empty:
            continue
        change = (both[name] - both[own]) / both.max(axis=1).where(both.max(axis=1) > 0, 1)
        what = f"the effective rank of {scenario_words(own)}"
        parts: list[str] = []
        for verb, moved in (("lowers", change[change < 0]), ("raises", change[change > 0])):
            if len(moved):
                layer = moved.abs().idxmax()
                most = ", most in" if len(moved) > 1 else ","
                parts.append(f"{verb} {'it' if parts else what} in {len(moved)} of {len(both)} layers{most} **{layer}** "
                             f"(from {both.loc[layer, own]:.1f} to {both.loc[layer, name]:.1f})")
        follows = "a fall of this size could be due to blur alone" if (change < 0).any() else "blur explains no lower rank"
        told.append(f"Reducing the images to 32×32 pixels {' and '.join(parts)}: {follows}." if parts else
                    f"Reducing the images to 32×32 pixels leaves {what} as it is in every layer, to the digit shown.")
    return told


def describe_beyond_blur(table: pd.DataFrame) -> list[str]:
    """In how many layers CIFAR-10 images have an effective rank that is lower than blur makes that of own images."""
    ranks = ranks_by_layer(table)
    if not {"imagenet_own", "imagenet_own_32px", "imagenet_cifar10"} <= set(ranks):
        return []
    reduced, small = ranks[["imagenet_own", "imagenet_own_32px"]].min(axis=1).round(1), ranks["imagenet_cifar10"].round(1)
    lower, words = int((small < reduced).sum()), scenario_words("imagenet_cifar10")
    return [f"The effective rank of {words} is lower than this blur explains in {lower or 'none'} of {len(ranks)} layers."]
