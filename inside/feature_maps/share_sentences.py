"""Sentences on the shares of non-positive values, made from their tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from inside.feature_maps.scenario_names import frozen_label, is_stand_in, scenario_words
from inside.feature_maps.shares import over_draws
from inside.files import RunFolder
from inside.models.saved import SavedModel
from inside.text import change_in_points, format_number, format_share, literal, percent


def describe_input_sizes(run: RunFolder, map_size: int) -> str:
    """At which size the images were measured, and at which the network of the run was fine-tuned, if there is one."""
    told = f"Measured on whole images resized to {map_size}×{map_size} pixels"
    saved = SavedModel.read(run)
    if saved is None:
        return f"{told}."
    return f"{told}, the size at which the network was fine-tuned." if saved.image_size == map_size else \
        f"{told}; the network was fine-tuned at {saved.image_size}×{saved.image_size} pixels."


def describe_shares(shares: pd.DataFrame, frozen: Sequence[str] = (), *, pretrained: bool = True) -> list[str]:
    """What `share_table` tells: fine-tuning, random weights as a baseline, dead channels; one sentence each, or more.

    `frozen`: layers that are the same before and after by construction. `pretrained`: whether the fine-tuned network had
    started from the ImageNet-initialised one.
    """
    means = over_draws(shares, "non_positive_share")
    return [*_describe_tuning(means, frozen, pretrained), *_describe_learnt(shares, means), describe_dead(shares)]


def _describe_tuning(means: pd.DataFrame, frozen: Sequence[str], pretrained: bool) -> list[str]:
    if not {"finetuned_own", "imagenet_own"} <= set(means):
        return []
    still = [layer for layer in means.index if layer in frozen]
    lines = [f"{_in_a_row(f'**{layer}**' for layer in still)} {'is' if len(still) == 1 else 'are'} frozen: identical before "
             "and after fine-tuning by construction."] if still else []
    change = _change(means, "imagenet_own", "finetuned_own").drop(still, errors="ignore")
    if not len(change):
        return lines or ["No layer has shares that can be compared before and after fine-tuning."]
    what = "Fine-tuning moved the share of non-positive values" if pretrained else \
        "The share differs between the network trained from random weights and the ImageNet-initialised one"
    which = "that learn" if still else "measured"
    return [*lines, f"{what} {_most(change, which)}."]


def _describe_learnt(shares: pd.DataFrame, means: pd.DataFrame) -> list[str]:
    if not {"imagenet_own", "random_own"} <= set(means):
        return []
    gap = _change(means, "random_own", "imagenet_own")
    if not len(gap):
        return []
    number = int(shares.loc[shares["scenario"] == "random_own", "draw"].max())
    drawn = f"the mean of {number} draws" if number > 1 else "one draw"
    line = (f"Compared with random initialisation ({drawn}), the share of the ImageNet-initialised network differs "
            f"{_most(gap, 'measured')}.")
    if number > 1:
        low, high = (over_draws(shares, "non_positive_share", how)["random_own"] for how in ("min", "max"))
        outside = ((means["imagenet_own"] < low) | (means["imagenet_own"] > high))[gap.index].sum()
        line += (f" It lies outside the range of the draws in {outside} of {_layers(len(gap))}; one more draw would in "
                 f"about {percent(2 / (number + 1), 0)} of layers.")
    return [line]


def _change(means: pd.DataFrame, old: str, new: str) -> pd.Series:
    """From one scenario to another, in percentage points between the shares as they are shown, a number a layer."""
    both = means[[old, new]].dropna()
    return both.apply(lambda row: change_in_points(row[old], row[new]), axis=1).astype(float)


def describe_dead(shares: pd.DataFrame) -> str:
    """The number of dead channels of each scenario, over the layers that an activation produces or follows."""
    missing = shares.groupby("layer", sort=False)["dead_channels"].apply(lambda numbers: numbers.isna().any())
    counted = missing.index[~missing]
    if not len(counted):
        where = f"**{missing.index[0]}**" if len(missing) == 1 else f"any of the {_layers(len(missing))}"
        return f"No activation produces or follows {where}: no channel there can be called dead."
    rows = shares[shares["layer"].isin(counted)]
    totals = rows.groupby(["scenario", "draw"], sort=False)["dead_channels"].sum()
    told = []
    for name, numbers in totals.groupby("scenario", sort=False):
        several = f"{numbers.mean():.1f} on average ({numbers.min()} to {numbers.max()} in {len(numbers)} draws)"
        told.append(f"{several if len(numbers) > 1 else numbers.iloc[0]} in {scenario_words(name)}")
    channels = rows.drop_duplicates("layer")["channels"].sum()
    of = f"all {_layers(len(missing))}" if len(counted) == len(missing) else \
        f"the {len(counted)} of {_layers(len(missing))} that have one"
    where = of if len(missing) > 1 else f"**{counted[0]}**"
    return (f"Dead channels (never above 0 after the activation) in {where} ({channels:,} channels): "
            f"{'; '.join(told)}.")


def _layers(number: int) -> str:
    return f"{number} layer{'s' if number != 1 else ''}"


def _in_a_row(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _most(change: pd.Series, which: str) -> str:
    """Where changes in percentage points, a number a layer, are largest, with all that tie as they are shown."""
    shown = change.round(1)
    where = f"**{change.index[0]}**" if len(change) == 1 else f"each of the {_layers(len(change))} {which}"
    if not shown.any():
        return f"by less than 0.1 percentage points in {where}"
    if len(change) == 1:
        return f"in {where} by {_signed(shown.iloc[0])} percentage points"
    largest = shown[shown.abs() == shown.abs().max()]
    if len(largest) == len(change) and largest.nunique() == 1:
        return f"in {where} by {_signed(largest.iloc[0])} percentage points"
    told = (f"**{layer}** ({_signed(value)} percentage points)" for layer, value in largest.items())
    return f"most in {_in_a_row(told)}"


def _signed(points: float) -> str:
    return format_number(points, 1, sign=True)


def describe_share_figure(shares: pd.DataFrame, frozen: Sequence[str] = ()) -> str:
    """The numbers of `plot_non_positive_shares` in words, for those who do not see it."""
    mean, low, high = (over_draws(shares, "non_positive_share", how) for how in ("mean", "min", "max"))
    number = shares.groupby("scenario")["draw"].max()
    told = []
    for name in mean:
        several = number[name] > 1
        values = [_as_share(value) + (f" ({_as_share(a)} to {_as_share(b)})" if several and value == value else "")
                  for value, a, b in zip(mean[name], low[name], high[name], strict=True)]
        of_draws = f", mean and range of {number[name]} draws" if several else ""
        told.append(f"{scenario_words(name)}{of_draws}: {', '.join(values)}")
    layers = ", ".join(frozen_label(layer, frozen) for layer in mean.index)
    return f"Share of values ≤ 0 by layer, from input to output ({layers}), in {'; in '.join(told)}."


def _as_share(value: float) -> str:
    return "not defined" if np.isnan(value) else format_share(value, 2)


def describe_channel_figure(channels: pd.DataFrame) -> str:
    """How far the channels of `channel_share_table` differ, scenario by scenario, for those who do not see the figure."""
    spread = channels.groupby("scenario", sort=False)["share"].std()
    told = ", ".join(f"{_as_share(value)} in {scenario_words(name)}" for name, value in spread.items())
    return ("Distribution over channels of the share of values ≤ 0, one box per layer and scenario. Standard deviation over "
            f"the channels of all layers: {told}.")


def describe_class_figure(heat: pd.DataFrame, scenario: str) -> str:
    """Where the classes of `class_share_table` differ most, for those who do not see the figure."""
    return f"Share of values ≤ 0 by layer and class in {scenario_words(scenario)}. {describe_classes(heat)[0]}"


def describe_classes(heat: pd.DataFrame) -> list[str]:
    """Where the classes of `class_share_table` differ most; then, if they do, which is highest and which lowest there."""
    width = heat[heat.notna().sum(axis=1) > 1].apply(lambda row: change_in_points(row.min(), row.max()), axis=1)
    if heat.shape[1] < 2 or not len(width):
        return ["There is only one class." if heat.shape[1] < 2 else "No layer has shares to compare."]
    if round(width.max(), 1) == 0:
        return ["The classes differ by less than 0.1 percentage points in every layer."]
    shown = width.round(1)
    most = [str(layer) for layer in shown.index[shown == shown.max()]]
    row = heat.loc[most[0]].dropna()
    return [f"Classes differ most in {_in_a_row(most)}, by {width.max():.1f} percentage points.",
            f"In {most[0]} the share is highest for {literal(row.idxmax())} ({percent(row.max())}) and lowest for "
            f"{literal(row.idxmin())} ({percent(row.min())})."]


def describe_share_claims(shares: pd.DataFrame, frozen: Sequence[str] = (), *, pretrained: bool = True) -> list[str]:
    """Claims on a `share_table`, the most telling first: fine-tuning, random weights, at last the range of all shares."""
    means = over_draws(shares, "non_positive_share")
    real = means[[name for name in means if not is_stand_in(str(name))]]  # stand-ins are never ranked
    values = (real if real.notna().any(axis=None) else means).stack().dropna()
    low, high = (f"{percent(value)} (**{place[0]}** of {scenario_words(str(place[1]))})" for place, value in
                 ((values.idxmin(), values.min()), (values.idxmax(), values.max()))) if len(values) else ("", "")
    start = "Stand-ins aside, the" if real.shape[1] < means.shape[1] and real.notna().any(axis=None) else "The"
    spread = f"{start} shares range from {low} to {high}." if len(values) else "No layer has a share."
    still = {"finetuned_own", "imagenet_own"} <= set(means) and set(frozen) >= set(means.index)
    return [*([] if still else _describe_tuning(means, frozen, pretrained)[-1:]), *_describe_learnt(shares, means), spread]


def describe_channels(channels: pd.DataFrame) -> list[str]:
    """How far the channels of the first scenario of a `channel_share_table` differ, and how many have extreme shares."""
    name = channels["scenario"].iloc[0] if len(channels) else ""
    own = channels[channels["scenario"] == name].dropna(subset="share")
    if not len(own):
        return ["No channel has a share."]
    ends = own.groupby("layer", sort=False)["share"].quantile([0.25, 0.75]).unstack()
    widest = (ends[0.75] - ends[0.25]).idxmax()
    above, below = int((own["share"] > 0.95).sum()), int((own["share"] < 0.05).sum())
    lie = "lies" if above == 1 else "lie"
    return [f"Channels of {scenario_words(name)} differ most in **{widest}**: the middle half of them lie between "
            f"{percent(ends.loc[widest, 0.25], 0)} and {percent(ends.loc[widest, 0.75], 0)}.",
            f"Averages hide extremes: of {len(own):,} channels of {scenario_words(name)}, {above:,} {lie} above 95% and "
            f"{below:,} below 5%." if above or below else
            f"No channel of {scenario_words(name)} has a share above 95% or below 5%."]


def describe_counts(counted: pd.DataFrame) -> str:
    """Whether the two counts of `count_twice` agree, and how many values they hold."""
    same = int((counted["by_hook"] == counted["by_hand"]).sum())
    told = "all" if same == len(counted) else f"only {same} of"
    return (f"Hook and NumPy agree in {told} {_layers(len(counted))}: {counted['by_hook'].sum():,} of "
            f"{counted['values'].sum():,} values of the batch are ≤ 0.")
