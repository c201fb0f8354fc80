"""What notebooks 02 and 03 show of feature maps: shares, spectra, their certainty and similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from inside.feature_maps.certainty import BootstrapSpectrum, bootstrap_spectrum, split_half
from inside.feature_maps.plots import (
    plot_by_layer,
    plot_channel_shares,
    plot_class_heatmap,
    plot_cumulative_variance,
    plot_effective_ranks,
    plot_non_positive_shares,
    plot_similarity,
)
from inside.feature_maps.scenario_names import first_draws, main_scenarios, mark_frozen, scenario_style
from inside.feature_maps.scenarios import Scenario, random_draws
from inside.feature_maps.share_sentences import (
    describe_channel_figure,
    describe_class_figure,
    describe_dead,
    describe_share_figure,
)
from inside.feature_maps.shares import channel_share_table, dead_overview, share_overview
from inside.feature_maps.spectra import Spectrum
from inside.feature_maps.spectra_sentences import describe_by_layer, describe_comparison
from inside.feature_maps.spectra_tables import certainty_table, spectra_table
from inside.feature_maps.statistics import LayerStatistics
from inside.shown import Figure, Shown, Table, Text


def report_scenarios(scenarios: Mapping[str, Scenario], missing: Mapping[str, str], name: str) -> list[Shown]:
    """The scenarios as table `name`, those that are missing with their reasons, and how often random weights are drawn."""
    rows = [(scenario, scenario_style(scenario)["label"], len(found.images.table), found.images.about)
            for scenario, found in first_draws(scenarios).items()]
    told = [f"**{scenario}** is missing: {reason}" for scenario, reason in missing.items()]
    return [Table(pd.DataFrame(rows, columns=["scenario", "meaning", "images", "which"]), name),
            Text.bullets([*told, f"Draws of random weights: {len(random_draws(scenarios))}."])]


def report_audit(audit: Mapping) -> list[Shown]:
    """What `hook_audit` met: the layers that were asked for, and all activations."""
    return [Table(pd.DataFrame(audit["layers"]).T.rename_axis("layer").reset_index(), "hook_audit"),
            Table(pd.DataFrame(audit["activations"]), "activations")]


def report_shares(shares: pd.DataFrame, frozen: Sequence[str] = ()) -> list[Shown]:
    """The shares of a `share_table` by layer and scenario, as table and figure."""
    ax = plot_non_positive_shares(mark_frozen(shares, frozen))
    return [Table(mark_frozen(share_overview(shares), frozen), "non_positive_shares"),
            Figure(ax.figure, "non_positive_shares", describe_share_figure(shares, frozen))]


def report_channels(statistics: Mapping[str, Mapping[str, LayerStatistics]], shares: pd.DataFrame,
                    frozen: Sequence[str] = ()) -> list[Shown]:
    """How shares differ from channel to channel, and which channels are dead, from statistics and their `share_table`."""
    table = channel_share_table(statistics)
    ax = plot_channel_shares(mark_frozen(table, frozen))
    return [Figure(ax.figure, "channel_shares", describe_channel_figure(table)),
            Table(mark_frozen(dead_overview(shares), frozen), "dead_channels", digits=1), Text(describe_dead(shares))]


def report_classes(heat: pd.DataFrame, scenario: str) -> list[Shown]:
    """The shares of a scenario by layer and class, see `class_share_table`, as a figure that holds the numbers."""
    return [Figure(plot_class_heatmap(heat).figure, "class_heatmap", describe_class_figure(heat, scenario))]


def report_spectra(spectra: Mapping[str, Mapping[str, Spectrum]], *, frozen: Sequence[str] = ()) -> list[Shown]:
    """The numbers of all spectra as a table, and the eigenvalues of the main scenarios on linear and logarithmic axes."""
    table, main = spectra_table(spectra, frozen=frozen), main_scenarios(spectra)
    told = describe_by_layer(table[table["scenario"].isin(main)], "effective rank", frozen=frozen)
    return [Table(table, "spectra", digits=2, rows=100),
            *(Figure(plot_by_layer(main, log=log, relative=True, frozen=frozen), f"eigenvalues_{kind}",
                     f"Eigenvalues as shares of the variance by rank, {kind}, a panel a layer, all scenarios. {told}")
              for log, kind in ((False, "linear"), (True, "log-log")))]


def report_cumulative_variance(spectra: Mapping[str, Mapping[str, Spectrum]], *, frozen: Sequence[str] = ()) -> list[Shown]:
    """The cumulative variance of the main scenarios by layer."""
    table, main = spectra_table(spectra, frozen=frozen), main_scenarios(spectra)
    told = describe_by_layer(table[table["scenario"].isin(main)], "k95", digits=0, frozen=frozen)
    return [Figure(plot_by_layer(main, plot_cumulative_variance, frozen=frozen), "cumulative_variance",
                   f"Cumulative share of the variance, a panel a layer. {told}")]


@dataclass(frozen=True)
class Certainty:
    """How sure spectra are at their number of images: `table` (see certainty_table), `errors` {scenario: {layer: …}}.

    `n_resamples` sets of images were drawn, and `n_leading` directions compared; `frozen`: layers to mark.
    """

    table: pd.DataFrame
    errors: Mapping[str, Mapping[str, BootstrapSpectrum]]
    n_resamples: int
    n_leading: int
    frozen: Sequence[str] = ()

    def report(self, spectra: Mapping[str, Mapping[str, Spectrum]]) -> list[Shown]:
        """The table, the effective ranks with their spreads, and the leading eigenvalues with theirs."""
        drawn, main = spectra_table(spectra, frozen=self.frozen), main_scenarios(spectra)
        told = describe_by_layer(drawn[drawn["scenario"].isin(main)], "effective rank", frozen=self.frozen)
        ax = plot_effective_ranks(self.table, draws=drawn, frozen=self.frozen)
        leading = plot_by_layer(main, log=True, relative=True, noise=False, errors=self.errors, frozen=self.frozen)
        return [Table(self.table, "certainty", digits=2, rows=50),
                Figure(ax.figure, "effective_ranks", "Effective rank by layer; bars: 95 % spread at this N "
                       f"(bootstrap), or the range of several draws of weights. {told}"),
                Figure(leading, "leading_eigenvalues", "Eigenvalues as shares of the variance, log-log, a panel a layer; "
                       f"bars: 95 % spread at this N of at most {self.n_leading} leading ones, over {self.n_resamples} "
                       "resamples of the images.")]


def check_certainty(statistics: Mapping[str, Mapping[str, LayerStatistics]], *, n_resamples: int = 200, n_leading: int = 10,
                    frozen: Sequence[str] = (), seed: int = 0) -> Certainty:
    """Bootstrap and halves of the images of the main scenarios: see `bootstrap_spectrum` and `split_half`."""
    main = main_scenarios(statistics)
    errors = {name: {layer: bootstrap_spectrum(state.features, n_resamples=n_resamples, seed=seed, n_leading=n_leading)
                     for layer, state in by_layer.items()} for name, by_layer in main.items()}
    halves = {name: {layer: split_half(state.features, seed=seed) for layer, state in by_layer.items()}
              for name, by_layer in main.items()}
    table = certainty_table(errors, halves, leading=n_leading, frozen=frozen)
    return Certainty(table, errors, n_resamples, n_leading, frozen)


def report_comparison(compared: pd.DataFrame, *, frozen: Sequence[str] = ()) -> list[Shown]:
    """What is common to the directions of two networks, see `comparison_table`, as table and figure."""
    if not len(compared):
        return [Text("There is no pair of networks to compare: it takes the ImageNet-initialised network, and beside it the "
                     "fine-tuned one of notebook 01 or one with random weights.")]
    return [Table(compared, "directions"),
            Figure(plot_similarity(compared, frozen=frozen), "directions", "Overlap of the leading directions and debiased "
                   f"linear CKA by layer. {describe_comparison(compared, frozen=frozen)}")]


def report_resolution_control(spectra: Mapping[str, Mapping[str, Spectrum]]) -> list[Shown]:
    """The initial network on images as they are and reduced to 32×32 pixels: cumulative variance by layer."""
    if not any(name.endswith("_32px") for name in spectra):
        return [Text("Not measured: it takes RESOLUTION_CONTROL = True and the ImageNet-initialised network.")]
    chosen = {name: by_layer for name, by_layer in spectra.items() if name.startswith("imagenet_")}
    table = spectra_table(chosen)
    told = describe_by_layer(table[table["layer"] == table["layer"].iloc[-1]], "effective rank")
    return [Figure(plot_by_layer(chosen, plot_cumulative_variance), "resolution_control", "Cumulative variance of the "
                   "ImageNet-initialised network; dashed: the same images reduced to 32×32 pixels. " + told)]
