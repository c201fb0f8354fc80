"""Sentences on near duplicates."""

from __future__ import annotations

import pandas as pd

from inside.curation.groups import DIAMETER, NearDuplicates
from inside.text import format_significant


def describe_near_duplicates(near: NearDuplicates, pairs: pd.DataFrame) -> list[str]:
    """What was found among the images, what is done with it, and how many pairs chance would give; or why nothing was."""
    if near.mode == "off":
        return [f"Near duplicates were not searched: {near.why_off}."]
    chance = (f"From a correlation of {near.limit:.2f} on, two images count as near duplicates; about "
              f"{format_significant(near.by_chance or 0, 1)} pairs of unlike images are expected to reach that by chance.")
    if pairs.empty:
        return ["No two images are near duplicates of each other.", chance]
    conflicts, apart = int(pairs["conflicting"].sum()), int(pairs["group"].isna().sum())
    told = [f"{_pairs(len(pairs))} of near duplicates in {pairs['group'].nunique():,} "
            f"group{'s' * (pairs['group'].nunique() != 1)}, {conflicts:,} of them with different labels.", chance]
    if near.mode == "report":
        told.append('They are not kept on one side of the split (NEAR_DUPLICATES = "report").')
    if apart:
        told.append(f"{_pairs(apart)} {'is' if apart == 1 else 'are'} not kept together: all images of a group are within "
                    f"{DIAMETER} of 63 bits of each other, and longer chains are cut.")
    return told


def _pairs(number: int) -> str:
    return f"{number:,} pair{'s' * (number != 1)}"
