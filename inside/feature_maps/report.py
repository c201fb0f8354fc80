"""What notebook 03 shows of feature maps: spectra, their certainty and similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from inside.feature_maps.blur_sentences import describe_beyond_blur, describe_blur
from inside.feature_maps.certainty import BootstrapSpectrum, bootstrap_spectrum, split_half
from inside.feature_maps.plots import (
    plot_by_layer,
    plot_cumulative_variance,
    plot_effective_ranks,
    plot_reduced,
    plot_similarity,
)
from inside.feature_maps.scenario_names import SMALL_IMAGES, main_scenarios, mark_frozen, scenario_title
from inside.feature_maps.shares import over_draws, share_overview
from inside.feature_maps.spectra import Spectrum
from inside.feature_maps.spectra_sentences import (
    describe_by_layer,
    describe_comparison,
    describe_halves,
    describe_held_out,
    describe_k,
    describe_leading,
    describe_rank_claims,
    describe_scatter,
    describe_similarity_claims,
)
from inside.feature_maps.spectra_tables import certainty_table, eigenvalue_table, ranks_by_layer, spectra_table
from inside.feature_maps.statistics import LayerStatistics
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import format_share, plain_text


def report_spectra(spectra: Mapping[str, Mapping[str, Spectrum]], certainty: Certainty) -> list[Shown]:
    """Effective ranks with their spreads, then the top-k eigenvalues with theirs; folded: all numbers, and linear axes."""
    table, frozen = spectra_table(spectra, frozen=certainty.frozen), certainty.frozen
    drawn = table[~table["scenario"].str.endswith("_32px")]
    claims = describe_rank_claims(drawn, certainty.table, frozen)
    bars = "bars: the 95% spread at this N (bootstrap of the images), or the range of several draws of random weights."
    numbers = Table(table, "spectra", "Trace, effective rank, participation ratio; k95 and k99: how many directions "
                    "hold 95 and 99% of the variance.", digits=2, rows=1000)
    return [Figure(plot_effective_ranks(certainty.table, draws=table, frozen=frozen).figure, "effective_ranks",
                   f"Effective rank by layer; {bars} {describe_by_layer(drawn, 'effective rank', frozen=frozen)}",
                   f"{claims[0]} Effective rank by layer; {bars}{_shaded(frozen)}"),
            *[Text(line) for line in claims[1:2]],
            Table(mark_frozen(share_overview(table, "effective rank"), frozen), "effective_ranks",
                  f"{claims[-1]} Effective rank, a row per layer and a column per scenario.", digits=1, rows=100),
            Fold("All numbers of the spectra, by scenario, draw and layer", (numbers,)),
            *_report_eigenvalues(main_scenarios(spectra), certainty)]


def _shaded(frozen: Sequence[str]) -> str:
    return " Frozen layers are shaded." if frozen else ""


def _first(main: Mapping[str, object]) -> str:
    return " Of random weights, the first draw." if "random_own" in main else ""


def _report_eigenvalues(main: Mapping[str, Mapping[str, Spectrum]], certainty: Certainty) -> list[Shown]:
    """The top-k eigenvalues of the main scenarios with their spreads, on logarithmic axes; folded: the first 20, linear."""
    told, *more = describe_leading(main)
    (first, *_), head = describe_leading(main, 1), "Eigenvalues as shares of the variance by rank"
    few = {name: {layer: replace(s, top_k=min(20, s.top_k)) for layer, s in found.items()} for name, found in main.items()}
    return [Figure(plot_by_layer(main, log=True, relative=True, errors=certainty.errors, frozen=certainty.frozen),
                   "top_k_eigenvalues", f"{head}, log-log, one panel per layer; bars: 95% spread at this N of at most "
                   f"{certainty.n_leading} leading ones, over {certainty.n_resamples} resamples of the images. "
                   + plain_text(told),
                   f"{told} {head}, both axes logarithmic, down to 3·10⁻⁹; bars: 95% spread at this N of the leading "
                   f"ones ({certainty.n_resamples} resamples); dotted: pure noise of the same variance.{_first(main)}"),
            *[Text(line) for line in more],
            Fold("The first ten eigenvalues", (Table(
                eigenvalue_table(main), "top_k_eigenvalues", "The first ten eigenvalues, variances along the principal "
                "directions (0: no more than rounding), a row per scenario and layer; all of the top k are in spectra.npz.",
                rows=1000, significant=True),)),
            Fold("The first 20 eigenvalues on linear axes", (Figure(
                plot_by_layer(few, relative=True, frozen=certainty.frozen), "eigenvalues_linear",
                f"{head}, linear, the first 20, one panel per layer. {plain_text(first)}",
                f"{first} {head}, the first 20; dotted black: pure noise with the same total variance."),))]


def report_cumulative_variance(spectra: Mapping[str, Mapping[str, Spectrum]], *, frozen: Sequence[str] = ()) -> list[Shown]:
    """The cumulative variance of the main scenarios by layer; beside it what reducing the images does to effective ranks."""
    table, main = spectra_table(spectra, frozen=frozen), main_scenarios(spectra)
    rows, ranks, blur = table[table["scenario"].isin(main)], ranks_by_layer(table), describe_blur(table)
    beside = (lambda ax: plot_reduced(ranks, frozen=frozen, ax=ax)) if _reduced(spectra) else None
    claim, *more = describe_k(rows)
    told = describe_by_layer(rows, "k95", digits=0, frozen=frozen)
    return [Figure(plot_by_layer(main, plot_cumulative_variance, frozen=frozen, beside=beside), "cumulative_variance",
                   plain_text(" ".join(["Cumulative share of the variance, one panel per layer.", told, *blur])),
                   f"{claim} Share of the variance in the first k directions; dotted: 95 and 99%.{_first(main)}" + (
                       " Last panel: effective rank of images as they are and reduced to 32×32 pixels." if beside else "")),
            *([Text(more[0])] if more else [])]


def _reduced(spectra: Mapping[str, object]) -> list[str]:
    """The scenarios that were also measured on images reduced to 32×32 pixels."""
    return [name for name in spectra if f"{name}_32px" in spectra]


@dataclass(frozen=True)
class Certainty:
    """How uncertain spectra are at their number of images: `table` (see certainty_table), `errors` {scenario: {layer: …}}.

    `n_resamples` sets of images were drawn, and `n_leading` directions compared; `frozen`: layers to mark.
    """

    table: pd.DataFrame
    errors: Mapping[str, Mapping[str, BootstrapSpectrum]]
    n_resamples: int
    n_leading: int
    frozen: Sequence[str] = ()

    def report(self) -> list[Shown]:
        """How many directions the other half of the images shows again, by layer and scenario; folded: all numbers."""
        wide = over_draws(self.table, "found again").rename(columns=scenario_title).reset_index()
        found = "Found again: directions of the first half that have cos² > ½ with one of the second."
        if self.table["ratio low"].notna().any():
            found += (" Ratio: the spread of the fine-tuned network's effective rank divided by the initial one's, on the "
                      "same images.")
        numbers = Table(self.table, "certainty", f"{describe_scatter(self.table)} {found}", digits=2, rows=1000)
        return [Table(mark_frozen(wide, self.frozen), "found_again",
                      f"{describe_halves(self.table)} A row per layer, a column per scenario.", digits=0, rows=100),
                Text(describe_held_out(self.table)), Fold("Spreads and halves, by scenario and layer", (numbers,))]


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
    """What is common to the directions of two networks, see `comparison_table`, as figure and folded table."""
    if not len(compared):
        return [Text("There is no pair of networks to compare: this needs the ImageNet-initialised network and either the "
                     "fine-tuned one of notebook 01 or one with random weights.")]
    claim, *more = describe_similarity_claims(compared, frozen)
    shuffled = compared["CKA of shuffled images"].abs().max()
    check = "not defined" if pd.isna(shuffled) else f"at most {format_share(shuffled)} in absolute value"
    numbers = Table(compared, "directions", f"CKA of shuffled images is {check}. Overlap by chance is m/C.", rows=1000)
    return [Figure(plot_similarity(compared, frozen=frozen), "directions", "Overlap of the leading directions and debiased "
                   f"linear CKA by layer. {describe_comparison(compared, frozen=frozen)}",
                   f"{claim} Left: overlap of the leading directions, 1 for the same subspace; right: debiased linear CKA, "
                   f"1 for the same arrangement of the images. Dotted: by chance.{_shaded(frozen)}"),
            *[Text(line) for line in more],
            Fold("Overlap and CKA, by pair of networks and layer", (numbers,))]


def report_resolution_control(spectra: Mapping[str, Mapping[str, Spectrum]]) -> list[Shown]:
    """The effective rank of the initial network on images as they are, reduced to 32×32 pixels, and small ones, by layer."""
    if not _reduced(spectra):
        return [Text("Not measured: this needs RESOLUTION_CONTROL = True and the ImageNet-initialised network.")]
    chosen = {end: spectra[end] for name in _reduced(spectra) for end in (name, f"{name}_32px")}
    small = {name: spectra[name] for name in SMALL_IMAGES if name in spectra}
    table = spectra_table(chosen | small)
    told = describe_blur(table) + describe_beyond_blur(table)
    wide = over_draws(table, "effective rank").rename(columns=scenario_title).reset_index()
    beside = "; beside it, images that are small" if small else ""
    return [Table(wide, "resolution_control", f"{' '.join(told[:1])} Effective rank, a row per layer{beside}; the last "
                  "panel of [the cumulative variance](#figure-cumulative_variance) shows what reducing them does.",
                  digits=1, rows=100), *[Text(line) for line in told[1:]]]
