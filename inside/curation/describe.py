"""Sentences on near duplicates and on suspected label errors."""

from __future__ import annotations

import pandas as pd

from inside.curation.groups import DIAMETER, NearDuplicates
from inside.curation.label_issues import FEWEST_GROUPS, LabelIssues
from inside.text import format_significant, listed, literal, percent


def describe_near_duplicates(near: NearDuplicates, pairs: pd.DataFrame) -> list[str]:
    """What was found among the images, what is done with it, and how many pairs chance would give; or why nothing was."""
    if near.mode == "off":
        return [f"Near duplicates were not searched: {near.why_off}."]
    chance = (f"Two images with a correlation of at least {near.limit:.2f} count as near duplicates; about "
              f"{format_significant(near.by_chance or 0, 1)} pairs of unrelated images are expected to reach it by chance.")
    if pairs.empty:
        return ["No two images are near duplicates of each other.", chance]
    conflicts, apart = int(pairs["conflicting"].sum()), int(pairs["group"].isna().sum())
    groups, grouped = pairs["group"].nunique(), f", {len(pairs) - apart:,} of them" if apart else ""
    told = [f"{_pairs(len(pairs))} of near duplicates{grouped} in {groups:,} group{'s' * (groups != 1)}; "
            f"{_pairs(conflicts)} {'has' if conflicts == 1 else 'have'} different labels.", chance]
    if near.mode == "report":
        told.append('They are not kept on one side of the split (NEAR_DUPLICATES = "report").')
    if apart:
        told.append(f"{_pairs(apart)} {'is' if apart == 1 else 'are'} not kept together: all images of a group are within "
                    f"{DIAMETER} of 63 bits of each other, and longer chains are cut.")
    return told


def _pairs(number: int) -> str:
    return f"{number:,} pair{'s' * (number != 1)}"


def describe_label_issues(found: LabelIssues) -> list[str]:
    """How many labels are suspected and why, what is left out, what a reader can do; or why nothing was examined."""
    if found.why_off:
        return [f"Labels were not examined: {found.why_off}."]
    told, total = [f"Of {found.images:,} labels, none is suspected."], len(found.suspects)
    if total:
        conflicts = int((found.suspects["reason"] == "conflict").sum())
        reasons = {"because a copy of the image has another label": conflicts,
                   "because the regression predicts another class": total - conflicts}
        why = [f"{count:,} {reason}" if count < total else reason for reason, count in reasons.items() if count]
        told = [f"{total:,} of {found.images:,} labels ({percent(total / found.images)}) are suspected, {' and '.join(why)}."
                if total > 1 else f"1 of {found.images:,} labels is suspected, {why[0]}.",
                "A suspect is a reason to look, not an error: nothing is changed. To leave images out, list them in a CSV "
                "file with a column `path`, and give it as `IGNORE`."]
    if found.left_out:
        names = listed([literal(name) for name in found.left_out])
        told.append(f"Left out, for fewer than {FEWEST_GROUPS} images that are no copies of each other: {names}.")
    return told


def describe_suspects(found: LabelIssues) -> str:
    """Which two classes most of the suspects lie between, in a sentence."""
    pairs = found.suspects.groupby(["label", "suggested"]).size().sort_values(ascending=False, kind="stable")
    (label, suggested), most = pairs.index[0], int(pairs.iloc[0])
    alike = int((pairs == most).sum())
    among = f", as often as {alike - 1} other pair{'s' * (alike > 2)}" if alike > 1 else ", the most frequent pair"
    return f"{literal(suggested)} is suggested for {literal(label)} {most} time{'s' * (most != 1)}{among}."
