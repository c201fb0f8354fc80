"""Captions of the figures and tables of explanations, and the sentences below them, made from their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from inside.attribution.cam import View
from inside.attribution.describe import (
    FEWEST,
    control_mean,
    describe_occlusion,
    format_rho_interval,
    randomisation_baselines,
    summarise_randomisation,
)
from inside.attribution.occlusion import OCCLUSIONS, top_fraction_mask
from inside.attribution.randomisation import UNRELATED, Randomisation, can_be_ranked, rank_correlation
from inside.evaluation.intervals import mean_interval
from inside.text import format_number, format_share, listed, literal, percent, round_share

SAME_PLACE = 0.5  # of their hottest tenths: maps that share as much point at the same place


def describe_first_maps(maps: np.ndarray) -> str:
    """What fraction of the values of maps (K,h,w) is non-positive: the range over the maps."""
    low, high = (percent(share) for share in ((maps <= 0).mean((1, 2)).min(), (maps <= 0).mean((1, 2)).max()))
    if len(maps) == 1:
        return f"{low} of the values of this map are non-positive."
    if low == high:
        return f"{low} of the values of each of these {len(maps)} maps are non-positive."
    return f"Depending on the filter, between {low} and {high} of the values of these {len(maps)} maps are non-positive."


def describe_filters(weights: np.ndarray) -> str:
    """How many of the filters (K,channels,h,w) respond to colour rather than brightness.

    Those more than half of whose squared weights are differences from the mean over the channels.
    """
    if weights.shape[1] == 1:
        return "The filters read a single channel: they can respond to brightness, not to colour."
    color = ((weights - weights.mean(1, keepdims=True))**2).sum((1, 2, 3))
    count = int((2 * color > (weights**2).sum((1, 2, 3))).sum())
    of = f"of the {len(weights)} filter{'s' * (len(weights) != 1)} shown"
    if not count:
        return (f"None {of} responds more to colour than to brightness: differences between the colour channels make up at "
                "most half of the squared weights of each.")
    verb, their = ("responds", "its") if count == 1 else ("respond", "their")
    return (f"{count} {of} {verb} more to colour than to brightness: more than half of {their} squared weights are "
            "differences between the colour channels.")


def describe_neurons(neurons: pd.DataFrame, layer: str) -> str:
    """Which of the channels of `guided_neurons` stands out most, and by how much."""
    most = neurons["stands_out"].max()
    if not most > 0:
        return f"None of these channels of `{layer}` varies over the images."
    names = neurons.loc[neurons["stands_out"].round(1) == round(most, 1), "channel"].astype(str)
    if len(names) == 1:
        return (f"Channel {names.iloc[0]} of `{layer}` stands out most of those shown: its strongest value lies "
                f"{most:.1f} σ above its mean over the images.")
    return (f"Channels {listed(list(names))} of `{layer}` stand out most of those shown: their strongest values lie "
            f"{most:.1f} σ above their means over the images.")


def describe_neuron_classes(neurons: pd.DataFrame, n_classes: int) -> str:
    """In how many rows of `guided_neurons` the images shown are all of one class, and of which."""
    if n_classes < 2:
        return "All images carry the same label, so that nothing can be said about neurons and classes."
    rows = [{label, *after} for label, after in zip(neurons["label"], neurons["next_labels"], strict=True)]
    shown = 1 + len(neurons["next_labels"].iloc[0])
    if shown == 1:
        return "There is a single image, so that nothing can be said about neurons and classes."
    same = [next(iter(labels)) for labels in rows if len(labels) == 1]
    if not same:
        return (f"In none of the rows ({len(rows)}) are the {shown} images all of one class: what excites these neurons "
                "occurs in several classes.")
    names = listed([literal(name) for name in dict.fromkeys(same)])
    return (f"In {len(same)} of {len(rows)} rows the {shown} images are all of one class ({names}): such a neuron may "
            "respond to something typical of its class.")


def describe_refutation(found: Randomisation | None) -> str:
    """What the check of random weights says of guided backpropagation as an explanation of the class."""
    where, rows = "“Do the explanations hold?”", pd.DataFrame()
    if found is not None:
        rows = summarise_randomisation(found).query("step == 1 and method == 'guided backpropagation'")
    if rows.empty:
        return f"Whether guided backpropagation explains a class is not tested in this run: see {where}."
    row = rows.iloc[0]
    numbers = f"[{format_rho_interval(row)}; threshold {row['threshold']:.2f}](#figure-randomisation)"
    told = {"not changed": f"The method does not explain the *class*: under {where}, its maps do not change with a "
                           f"re-initialised classifier ({numbers}).",
            "changed": f"As an explanation of the *class*, the method passes the first test of {where}: its maps change "
                       f"with a re-initialised classifier ({numbers}).",
            "undecided": f"Whether the method explains the *class* is undecided in {where} ({numbers})."}
    return told.get(row["verdict"], f"On whether the method explains the *class*, {where} gives no verdict.")


def hottest_share(heat: np.ndarray, share: float = 0.1) -> float:
    """The share of the evidence, heat (H,W) >= 0, that lies in its hottest tenth; NaN where there is none."""
    total = heat.sum()
    return float(heat[top_fraction_mask(heat[None], share)[0]].sum() / total) if total > 0 else float("nan")


def describe_concentration(views: Sequence[View]) -> str:
    """How much of the evidence for their class the hottest tenth of the images holds, on average."""
    shares = pd.Series([hottest_share(view.heat) for view in views]).dropna()
    if shares.empty:
        return "None of the maps holds evidence for its class."
    average = "" if len(shares) == 1 else f"On average over {len(shares)} images, "
    return (f"{average}{percent(shares.mean(), 0)} of the evidence for the class lies in the hottest tenth of the image, "
            "where the map is highest; spread evenly it would be 10%.")


def describe_extremes(views: Sequence[View], names: Sequence[str]) -> str:
    """Of which class the evidence is most and least concentrated."""
    shares = pd.Series([hottest_share(view.heat) for view in views], index=list(names)).dropna()
    if len(shares) < 2:
        return "One map shows one case, not what is typical of its class."
    low, high = percent(shares.min(), 0), percent(shares.max(), 0)
    if low == high:
        return f"The evidence is equally concentrated in all of them: {low} in the hottest tenth."
    shown = shares.map(lambda share: percent(share, 0))
    most, least = (listed([literal(name) for name in shown.index[shown == end]]) for end in (high, low))
    return (f"The evidence is most concentrated for {most} ({high} in the hottest tenth of the image) and least for {least} "
            f"({low}).")


def map_overlaps(views: Sequence[View]) -> pd.Series:
    """What share of their hottest tenths the two maps of each error have in common; NaN where one has none.

    `views`: of each error that of the predicted class, then that of the true one.
    """
    found = []
    for one, other in zip(views[::2], views[1::2], strict=True):
        first, second = top_fraction_mask(np.stack([one.heat, other.heat]))
        ranked = can_be_ranked(one.heat) and can_be_ranked(other.heat)
        found.append((first & second).sum() / first.sum() if ranked else np.nan)
    return pd.Series(found, dtype=float)


def describe_overlap(views: Sequence[View]) -> str:
    """How much the evidence for the predicted class and that for the true class lie in the same place."""
    known = map_overlaps(views).dropna()
    if known.empty:
        return "No error has evidence for both classes, so that the places cannot be compared."
    start = "The" if len(known) == 1 else f"On average over {len(known)} errors, the"
    return (f"{start} hottest tenths for the predicted and the true class share {percent(known.mean(), 0)} of their pixels; "
            "tenths placed at random would share about 10%.")


def describe_places(wrong: pd.DataFrame, views: Sequence[View]) -> str:
    """In which errors of a prediction table the evidence for both classes lies mostly in the same place."""
    overlaps = map_overlaps(views)
    named = [f"{literal(row.label)} taken for {literal(row.predicted)}"
             for row, value in zip(wrong.itertuples(), overlaps, strict=True) if value >= SAME_PLACE]
    known = overlaps.notna().sum()
    if not known:
        return "Nothing in the maps tells whether the network looked at the wrong place or misread the right one."
    if not named:
        return (f"In no error ({known} compared) do the tenths share half of their pixels: the evidence for the two classes "
                "lies mostly in different places.")
    return (f"In {len(named)} of {known} errors ({listed(named)}) they share half of their pixels or more: one and the same "
            "place holds evidence for both classes.")


def format_rho(value: float) -> str:
    """A rank correlation with two digits, see `format_share`; – where it is not defined."""
    return format_share(value, 2)


def first_step(pictures: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, float]:
    """ρ of the maps of one image by the trained network with those where the classifier is re-initialised, by method."""
    trained, changed, *_ = pictures.values()
    return {method: rank_correlation(trained[method], changed[method]) for method in trained}


def describe_randomised(pictures: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """The ρ of one image once the classifier is re-initialised, method by method."""
    told = listed([f"{format_rho(value)} for {method}" for method, value in first_step(pictures).items()])
    return f"With a re-initialised classifier, ρ with the trained network's map is {told}, in this one image."


def describe_least_changed(pictures: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Which method's map of one image changes least, and where to read on."""
    known = pd.Series(first_step(pictures), dtype=float).dropna().abs().round(2)
    means = "[the means over all images](#figure-randomisation)"
    if known.empty:
        return f"None of these maps can be ranked; {means} say whether that holds in general."
    names = list(known.index[known == known.max()])
    return (f"Here {listed(names)} {'changes' if len(names) == 1 else 'change'} least; {means} say whether that holds in "
            "general.")


def describe_baselines(found: Randomisation) -> str:
    """Of which methods the maps of different images are more alike than chance, beyond the 95% interval over the images."""
    alike, compared = [], False
    for method, rows in found.controls[found.controls["control"] == "another image"].groupby("method", sort=False):
        mean, low, _ = (round_share(value, 2) for value in mean_interval(rows["correlation"].abs().dropna()))
        chance = round(control_mean(found, str(method), UNRELATED), 2)
        compared |= bool(np.isfinite(low) and np.isfinite(chance))
        if low > chance:
            alike.append(f"{method} (|ρ| {format_share(mean, 2)}; chance {chance:.2f})")
    if not compared:
        return "No maps of different images could be compared."
    if not alike:
        return "By no method are maps of different images shown to be more alike than chance."
    return (f"Maps of *different* images are more alike than chance for {listed(alike)}: a part of these maps is the same "
            "whatever the image.")


def describe_steps(found: Randomisation) -> str:
    """How many steps of all methods have which verdict."""
    counts = summarise_randomisation(found).query("step > 0")["verdict"].value_counts()
    told = listed([f"{count} “{verdict}”" for verdict, count in counts.items()])
    return f"Of {counts.sum()} steps of all methods the verdict is {told}."


def describe_largest_baseline(found: Randomisation) -> str:
    """Which baseline is the largest, and of which method."""
    values = randomisation_baselines(found).set_index("method").stack().dropna()
    if values.empty:
        return "No map can be ranked, so that there is no baseline."
    method, control = values.idxmax()
    return f"The largest baseline is {format_share(values.max())}: {control}, by {method}."


def describe_differences(table: pd.DataFrame) -> str:
    """What hiding the hottest tenth costs more than hiding the others; of too few images the range of its drops."""
    measured, told = table.dropna(), describe_occlusion(table)
    if len(measured) >= FEWEST:
        return told[1]
    low, high = (100 * value for value in (measured[OCCLUSIONS[0]].min(), measured[OCCLUSIONS[0]].max()))
    return (f"Hiding the {OCCLUSIONS[0]} lowers the confidence of the images ({len(measured)}) by "
            f"{format_number(low, 1)} to {format_number(high, 1)} points (negative: it rises).")
