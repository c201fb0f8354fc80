"""Sentences on spectra, made from their tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from inside.feature_maps.blur_sentences import describe_blur
from inside.feature_maps.scenario_names import describe_missing, image_words, is_stand_in, pair_words, scenario_words
from inside.feature_maps.spectra import Spectrum
from inside.feature_maps.spectra_tables import ranks_by_layer
from inside.text import format_number, format_share, percent, round_share


def describe_by_layer(table: pd.DataFrame, column: str, *, digits: int = 1, frozen: Sequence[str] = ()) -> str:
    """A column's values by scenario and layer, for readers who do not see the figure; several draws as mean and range."""
    layers = list(dict.fromkeys(table["layer"]))
    told = [", ".join(_with_range(rows.loc[rows["layer"] == layer, column], digits)
                      for layer in layers if layer in set(rows["layer"])) + f" in {scenario_words(str(scenario))}"
            for scenario, rows in table.groupby("scenario", sort=False)]
    return f"{column} in {', '.join(layers)}: {'; '.join(told)}.{_frozen_note(layers, frozen, table['scenario'])}"


def describe_comparison(compared: pd.DataFrame, *, frozen: Sequence[str] = ()) -> str:
    """Overlap and CKA of each pair of networks by layer, for readers who do not see the figure."""
    told = [f"of {pair_words(str(networks))}: " + "; ".join(
        f"{row['layer']} {_number(row['overlap'], 2)} and {_number(row['CKA'], 2)}" for _, row in rows.iterrows())
        for networks, rows in compared.groupby("networks", sort=False)]
    names = [str(networks).split(" and ")[0] for networks in compared["networks"]]
    note = _frozen_note(list(dict.fromkeys(compared["layer"])), frozen, names)
    return f"Overlap and CKA {', '.join(told)}.{note}"


def _frozen_note(layers: Sequence[str], frozen: Sequence[str], scenarios: Iterable[str]) -> str:
    fixed = [layer for layer in layers if layer in frozen]
    return f" Frozen, so that fine-tuned and initial network are identical there by construction: {', '.join(fixed)}." \
        if fixed and "finetuned_own" in set(scenarios) else ""


def _number(value: float, digits: int) -> str:
    """A number in words' company: no "nan", and shares as `format_share` has them."""
    return "not defined" if not np.isfinite(value) else format_share(value, digits)


def _with_range(values: pd.Series, digits: int) -> str:
    told = _number(values.mean(), digits)
    return told if len(values) < 2 else \
        f"{told} ({_number(values.min(), digits)} to {_number(values.max(), digits)} in {len(values)} draws)"


def describe_spectra(table: pd.DataFrame, certainty: pd.DataFrame, compared: pd.DataFrame, *, frozen: Sequence[str] = (),
                     missing: Iterable[str] = ()) -> list[str]:
    """The takeaways of notebook 03, sentences made from the numbers of its three tables.

    `table`, `certainty`, `compared`: see spectra_table, certainty_table, comparison_table; they may have no rows. Frozen
    layers are told to be the same by construction, stand-ins are not ranked.
    """
    sentences = []
    if len(table):
        ranks = ranks_by_layer(table)
        if {"finetuned_own", "imagenet_own"} <= set(ranks):
            sentences += _describe_frozen(ranks, frozen) + _describe_directions(compared, frozen)
            sentences += [" ".join(_describe_change(ranks, frozen) + _describe_ratios(certainty, frozen))]
        sentences += _describe_sets(ranks) + _describe_random(table, ranks.index[-1]) + describe_blur(table)
    if len(certainty):
        sentences += [describe_scatter(certainty), describe_halves(certainty)]
    return [line for line in sentences if line] + describe_missing(missing)


def _describe_frozen(ranks: pd.DataFrame, frozen: Sequence[str]) -> list[str]:
    fixed = [layer for layer in ranks.index if layer in frozen]
    return [f"Frozen during fine-tuning, and therefore unchanged by construction: {_bold(fixed)}."] if fixed else []


def _describe_directions(compared: pd.DataFrame, frozen: Sequence[str]) -> list[str]:
    """Where fine-tuning turned the leading directions most, among the layers that could learn."""
    own = compared[[str(x).startswith("finetuned_own and ") for x in compared["networks"]]] if len(compared) else compared
    free = own[~own["layer"].isin(frozen)] if len(own) else own
    if not len(free):
        return []
    rows, without = free[free["overlap"].notna()], free[free["overlap"].isna()]
    told = [f"No directions to compare, because one of the networks has no variance there: {_bold(without['layer'])}."] \
        if len(without) else []
    if not len(rows):
        return told
    shown = rows["overlap"].map(lambda value: round_share(value, 2))
    least, lowest = rows[shown == shown.min()], shown.min()
    about = f"overlap of the leading directions {_number(lowest, 2)}, by chance {_from_to(least['overlap by chance'], 2)}"
    if lowest >= 1:
        return [f"Fine-tuning did not change the leading directions in {_bold(rows['layer'])} ({about}).", *told]
    how = "" if len(rows) == 1 else "most " if len(least) < len(rows) else "equally "
    return [f"Fine-tuning changed the leading directions {how}in {_bold(least['layer'])} ({about}).", *told]


def _describe_change(ranks: pd.DataFrame, frozen: Sequence[str]) -> list[str]:
    """Where fine-tuning changed the effective rank most, among the layers that could learn."""
    both = ranks.loc[[x for x in ranks.index if x not in frozen], ["finetuned_own", "imagenet_own"]].dropna()
    both = both[both["imagenet_own"] > 0]
    if both.empty:
        return []
    change = (100 * (both["finetuned_own"] / both["imagenet_own"] - 1)).round().astype(int)
    if not change.any():
        return [f"Fine-tuning changed the effective rank by less than 1% in {_bold(change.index)}."]
    most = change[change.abs() == change.abs().max()]
    told = [f"**{layer}** (from {both.loc[layer, 'imagenet_own']:.1f} to {both.loc[layer, 'finetuned_own']:.1f}, "
            f"{format_number(value, 0, sign=True)}%)" for layer, value in most.items()]
    how = "" if len(change) == 1 else "most " if len(most) < len(change) else "equally strongly "
    return [f"Fine-tuning changed the effective rank {how}in {_join(told)}."]


def _describe_sets(ranks: pd.DataFrame) -> list[str]:
    """The image sets through the initial network in the deepest layer; stand-ins apart and in no order."""
    deepest, told = ranks.index[-1], []
    sets = ranks.loc[deepest, [x for x in ranks if x.startswith("imagenet_") and not x.endswith("_32px")]].dropna()
    others = sets[[is_stand_in(x) for x in sets.index]]
    real = sets.drop(others.index).round(1).sort_values(ascending=False, kind="stable")
    head = f"Effective rank of the ImageNet-initialised network in **{deepest}**"
    if len(real):
        told.append(f"{head}{', in decreasing order' if real.nunique() > 1 else ''}: {_listed(real)}.")
    if len(others):
        told.append(f"{head} for stand-ins, which say nothing about the images that they stand for: {_listed(others)}.")
    return told


def _describe_random(table: pd.DataFrame, deepest: str) -> list[str]:
    drawn = table.loc[(table["scenario"] == "random_own") & (table["layer"] == deepest), "effective rank"]
    told = f"Effective rank with random weights in **{deepest}**: {_with_range(drawn, 1)}."
    return [told] if len(drawn) else []


def describe_scatter(certainty: pd.DataFrame) -> str:
    """How far the effective rank scatters at this N, and that this is not its distance to the population's."""
    images, rank = _from_to(certainty["images"], 0), certainty["effective rank"].where(certainty["effective rank"] > 0)
    width = (certainty["spread high"] - certainty["spread low"]) / 2 / rank
    if not width.notna().any():
        return f"With {images} images no layer has any variance, so the effective rank has no spread."
    worst = certainty.loc[width.idxmax()]
    change = (100 * (certainty[["first half", "second half"]].mean(axis=1) / rank - 1)).dropna()
    ends = dict.fromkeys([change.idxmin(), change.idxmax()]) if len(change) else ()
    told = f": with half of the images it differs by {' to '.join(_percent_at(certainty, change, at) for at in ends)}" + (
        f", by {format_number(change.median(), 0, sign=True)}% in the median" if len(change) > 2 else "") if ends else ""
    most = f"±{100 * width.max():.0f}% ({_place(worst)})"
    return (f"With {images} images the spread of the effective rank is at most {most}: that is how far it moves with "
            "another sample of the same size. It is not the distance to the effective rank of all such images, which "
            f"depends on the number of images{told}.")


def _percent_at(certainty: pd.DataFrame, change: pd.Series, at: int) -> str:
    return f"{format_number(change[at], 0, sign=True)}% ({_place(certainty.loc[at])})"


def _place(row: pd.Series) -> str:
    """The layer and scenario of a row."""
    return f"**{row['layer']}** of {scenario_words(row['scenario'])}"


def describe_halves(certainty: pd.DataFrame) -> str:
    """How many directions of one half of the images the other half has, too."""
    found = certainty["found again"].astype(int)
    few, many = (f"{found[at]} ({_place(certainty.loc[at])})" for at in (found.idxmin(), found.idxmax()))
    told = f"from {few} to {many}" if found.min() < found.max() else f"{found.min()} in every layer measured"
    chance = certainty["by chance"].max()
    expected = f"at most {chance:.1f} are expected" if chance >= 0.05 else "none is expected"
    return (f"Number of directions of one half of the images that are found again in the other half: {told}; by chance "
            f"{expected}.")


def _bold(names: Iterable[str]) -> str:
    return _join([f"**{name}**" for name in names])


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _listed(values: pd.Series) -> str:
    return ", ".join(f"{value:.1f} for {image_words(str(name))}" for name, value in values.items())


def _from_to(values: pd.Series, digits: int) -> str:
    low, high = _number(values.min(), digits), _number(values.max(), digits)
    return low if low == high else f"{low} to {high}"


def describe_rank_claims(table: pd.DataFrame, certainty: pd.DataFrame, frozen: Sequence[str] = ()) -> list[str]:
    """Claims on effective ranks, the most telling first: what fine-tuning changed, beyond the images, how it grows."""
    ranks = ranks_by_layer(table)
    tuned = {"finetuned_own", "imagenet_own"} <= set(ranks)
    name, values = str(ranks.columns[0]), ranks.iloc[:, 0].dropna()
    grows = f"The effective rank of {scenario_words(name)} is {values.iloc[0]:.1f} in **{values.index[0]}**" + \
        (f" and {values.iloc[-1]:.1f} in **{values.index[-1]}**." if len(values) > 1 else ".")
    return [*(_describe_change(ranks, frozen) + _describe_ratios(certainty, frozen) if tuned else []), grows,
            *_describe_random(table, ranks.index[-1])]


def _describe_ratios(certainty: pd.DataFrame, frozen: Sequence[str]) -> list[str]:
    """In which layers that could learn the effective rank differs, as shown, by more than the choice of images explains."""
    if certainty.empty:
        return []
    free = certainty[(certainty["scenario"] == "finetuned_own") & ~certainty["layer"].isin(frozen)]
    initial = certainty[certainty["scenario"] == "imagenet_own"].set_index("layer")["effective rank"].round(1)
    free = free[free["effective rank"].round(1) != free["layer"].map(initial)].dropna(subset="ratio low")
    apart = (free["ratio low"] > 1) | (free["ratio high"] < 1)
    told = [f"in {_bold(free.loc[rows, 'layer'])} {what}" for rows, what in (
        (apart, "the difference is larger than the choice of images explains"),
        (~apart, "the choice of images may explain the difference")) if rows.any()]
    return [f"I{'; '.join(told)[1:]}."] if told else []


def describe_leading(spectra: Mapping[str, Mapping[str, Spectrum]], k: int = 10) -> list[str]:
    """What share of the variance the k leading directions of the deepest layer hold, and how many exceed the noise there."""
    layer = list(next(iter(spectra.values())))[-1]
    shown = {name: by_layer[layer] for name, by_layer in spectra.items() if by_layer[layer].trace > 0}
    if not shown:
        return [f"No scenario has any variance in **{layer}**."]
    k = min(k, *(s.rank_bound for s in shown.values()))
    held = ", ".join(f"{percent(s.all_eigenvalues[:k].sum() / s.trace, 0)} in {scenario_words(name)}"
                     for name, s in shown.items())
    name, first = next(iter(shown.items()))
    above = int((first.all_eigenvalues > first.noise()).sum())
    lead = f"the {k} leading directions hold" if k > 1 else "the leading direction holds"
    return [f"Of the variance of **{layer}**, {lead} {held}.",
            f"In **{layer}**, {above:,} of {first.rank_bound:,} eigenvalues of {scenario_words(name)} exceed those of pure "
            "noise with the same total variance."]


def describe_k(table: pd.DataFrame, column: str = "k95") -> list[str]:
    """How many directions hold 95 or 99% of the variance in the deepest layer, by scenario; then its growth with depth."""
    wide = table.drop_duplicates(["scenario", "layer"]).pivot(index="layer", columns="scenario", values=column)
    wide = wide.loc[list(dict.fromkeys(table["layer"])), list(dict.fromkeys(table["scenario"]))]
    share, deepest, first = column.removeprefix("k"), wide.index[-1], str(wide.columns[0])
    held = ", ".join(f"{int(value):,} in {scenario_words(str(name))}" for name, value in wide.iloc[-1].dropna().items())
    lines = [f"Directions that hold {share}% of the variance of **{deepest}**: {held}."]
    if len(wide) > 1:
        lines.append(f"From **{wide.index[0]}** to **{deepest}** the number of directions that hold {share}% goes from "
                     f"{int(wide[first].iloc[0]):,} to {int(wide[first].iloc[-1]):,} in {scenario_words(first)}.")
    return lines


def describe_held_out(certainty: pd.DataFrame) -> str:
    """What the leading directions of one half hold there and in the other, in the deepest layer of the first scenario."""
    row = certainty[certainty["scenario"] == certainty["scenario"].iloc[0]].iloc[-1]
    if not np.isfinite([row["share of leading k"], row["in second half"]]).all():
        return f"**{row['layer']}** of {scenario_words(row['scenario'])} has no variance to compare between the halves."
    own, other = row["share of leading k"], row["in second half"]
    return (f"In **{row['layer']}** of {scenario_words(row['scenario'])}, the {row['k']} leading directions of one half "
            f"of the images hold {percent(own, 0)} of its variance and {percent(other, 0)} of the other half's.")


def describe_similarity_claims(compared: pd.DataFrame, frozen: Sequence[str] = ()) -> list[str]:
    """Claims on a comparison_table: where directions turned most, then the lowest CKA of each pair of networks."""
    told = []
    for networks, rows in compared[~compared["layer"].isin(frozen)].groupby("networks", sort=False):
        found = rows.dropna(subset="CKA")
        if len(found):
            least = found.loc[found["CKA"].idxmin()]
            told.append(f"CKA of {pair_words(str(networks))} is lowest in **{least['layer']}** "
                        f"({_number(least['CKA'], 2)}).")
    turned = _describe_directions(compared, frozen)
    return [*turned[:1], *([" ".join(told)] if told else [])] or ["There is no layer with directions to compare."]
