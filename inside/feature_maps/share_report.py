"""What part A of notebook 02 shows: scenarios, modules, the audit of hooks, shares of non-positive values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from inside.feature_maps.scenario_names import first_draws, is_stand_in, mark_frozen, scenario_style
from inside.feature_maps.scenarios import Scenario, random_draws
from inside.feature_maps.share_plots import plot_channel_shares, plot_class_heatmap, plot_non_positive_shares
from inside.feature_maps.share_sentences import (
    describe_channel_figure,
    describe_channels,
    describe_class_figure,
    describe_classes,
    describe_counts,
    describe_dead,
    describe_share_claims,
    describe_share_figure,
)
from inside.feature_maps.shares import channel_share_table, dead_overview, share_overview
from inside.feature_maps.statistics import LayerStatistics
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import listed


def report_scenarios(scenarios: Mapping[str, Scenario], missing: Mapping[str, str], name: str) -> list[Shown]:
    """The scenarios as table `name`, those that are missing with their reasons, and how often random weights are drawn."""
    rows = [(scenario, scenario_style(scenario)["label"], len(found.images.table), found.images.about)
            for scenario, found in first_draws(scenarios).items()]
    stand_ins = sum(is_stand_in(row[0]) for row in rows)
    told = [f"**{scenario_style(scenario)['label']}** is not measured: {reason.rstrip('.')}."
            for scenario, reason in missing.items()]
    caption = (f"{len(rows)} scenario{'s' * (len(rows) != 1)}, {stand_ins or 'none'} of them on stand-in images. A row per "
               "scenario: which network sees which images, and how many of them are measured.")
    return [Table(pd.DataFrame(rows, columns=["scenario", "meaning", "measured", "of"]), name, caption),
            Text.bullets([*told, f"Draws of random weights: {len(random_draws(scenarios))}."])]


def report_modules(modules: pd.DataFrame, layers: Sequence[str]) -> list[Shown]:
    """The layers to measure, of a table that `format_modules` made; all modules folded."""
    chosen = modules[modules["name"].isin(layers)]
    first, last = (f"**{row['name']}** ({row['output_shape']})" for _, row in chosen.iloc[[0, -1]].iterrows())
    count, unused = f"{len(chosen)} feature map{'s' * (len(chosen) != 1)}", int((modules["calls"] == 0).sum())
    span = f"from {first} to {last}" if len(chosen) > 1 else first
    never = f"{unused or 'None'} of {len(modules):,} modules {'are' if unused > 1 else 'is'} never called in a forward pass."
    return [Table(chosen, "02_layers", f"{count} to measure, {span}. output_shape: channels × height × width for one image; "
                  "calls: in one forward pass.", rows=100),
            Fold("All modules of the network", (Table(modules, "modules", never, rows=1000),))]


def report_audit(audit: Mapping) -> list[Shown]:
    """What `hook_audit` met in a sentence; folded: the layers that were asked for, and all activations."""
    layers = pd.DataFrame(audit["layers"]).T.rename_axis("layer").reset_index()
    activations = pd.DataFrame(audit["activations"])
    return [Text(describe_audit(audit)),
            Fold("The audit: chosen layers and activations", (
                Table(layers, "hook_audit", "How each chosen layer ran, and how its output was counted.", rows=100),
                Table(activations, "activations", f"{len(activations)} kind{'s' * (len(activations) != 1)} of activation "
                      "ran; in_place: the activation overwrote its input.", rows=100)))]


def describe_audit(audit: Mapping) -> str:
    """Whether each chosen layer ran once, and what was overwritten later in the pass."""
    several, over = ([name for name, layer in audit["layers"].items() if found(layer)] for found in (
        lambda layer: layer["calls"] != 1, lambda layer: layer["overwritten_later"] or layer["in_place"]))
    number = len(audit["layers"])
    ran = f"Each of the {number} chosen layers ran once" if number > 1 else "The chosen layer ran once"
    if several:
        calls = listed([f"**{name}** ({audit['layers'][name]['calls']} calls)" for name in several])
        ran = f"Not called exactly once in a forward pass: {calls}"
    kept = f"in-place operations affect {listed([f'**{name}**' for name in over])}, counted inside the hook before that" \
        if over else f"no in-place operation overwrote the output of {'a' if number > 1 else 'the'} chosen layer"
    return f"{ran}; {kept}."


def report_counts(counted: pd.DataFrame) -> list[Shown]:
    """Whether hooks count what is there, see `count_twice`; folded: both counts by layer."""
    return [Text(describe_counts(counted)), Fold("Both counts by layer", (Table(
        counted, "counted_twice", "Values ≤ 0 as counted by the hook and in copies with NumPy.", rows=100),))]


def report_shares(shares: pd.DataFrame, frozen: Sequence[str] = (), *, pretrained: bool = True) -> list[Shown]:
    """The shares of a `share_table` by layer and scenario, as figure and table; `pretrained`: see `describe_shares`."""
    claim, *more = describe_share_claims(shares, frozen, pretrained=pretrained)
    shaded = " Frozen layers are shaded." if frozen else ""
    band = " band: the range of several draws of random weights;" if shares["draw"].max() > 1 else ""
    return [Figure(plot_non_positive_shares(shares, frozen=frozen).figure, "non_positive_shares",
                   describe_share_figure(shares, frozen),
                   f"{claim} Share of values ≤ 0 by layer;{band} thin line: 50%.{shaded}"),
            *[Text(line) for line in more[:-1] or more],
            Table(mark_frozen(share_overview(shares), frozen), "non_positive_shares",
                  f"{[claim, *more][-1]} Share of values ≤ 0, a row per layer and a column per scenario.", rows=100)]


def report_channels(statistics: Mapping[str, Mapping[str, LayerStatistics]], shares: pd.DataFrame,
                    frozen: Sequence[str] = ()) -> list[Shown]:
    """How shares differ from channel to channel, and which channels are dead, from statistics and their `share_table`."""
    table = channel_share_table(statistics)
    claim, *more = describe_channels(table)
    ax = plot_channel_shares(table, shares[shares["draw"] == 1], frozen=frozen)
    return [Figure(ax.figure, "channel_shares", describe_channel_figure(table),
                   f"{claim} Boxes: the middle half of the channels; whiskers: the middle 90%; above: how many are dead."),
            *[Text(line) for line in more],
            Table(mark_frozen(dead_overview(shares), frozen), "dead_channels", f"{describe_dead(shares)} A row per layer.",
                  digits=1, rows=100)]


def report_classes(heat: pd.DataFrame, scenario: str, frozen: Sequence[str] = ()) -> list[Shown]:
    """The shares of a scenario by layer and class, see `class_share_table`, as a figure that holds the numbers."""
    claim, *more = describe_classes(heat)
    return [Figure(plot_class_heatmap(heat, frozen=frozen).figure, "class_heatmap", describe_class_figure(heat, scenario),
                   f"{claim} Share of values ≤ 0 by layer and class, {scenario_style(scenario)['label']}; white is 50%."),
            *[Text(line) for line in more]]
