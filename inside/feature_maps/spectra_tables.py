"""Tables of spectra, their certainty and their similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from inside.feature_maps.certainty import BootstrapSpectrum, SplitHalf, rank_ratio_spread
from inside.feature_maps.scenario_names import first_draws, is_stand_in, scenario_draw, scenario_title
from inside.feature_maps.similarity import compare_features
from inside.feature_maps.spectra import Spectrum, effective_rank
from inside.feature_maps.statistics import LayerStatistics


def spectra_results(spectra: Mapping[str, Mapping[str, Spectrum]]) -> dict[str, dict[str, dict]]:
    """{scenario: {layer: numbers}} for 03_results.json: those of the first draw; mean and range of the effective rank."""
    found = {name: {layer: {"channels": s.channels, "images": s.images, "rank_bound": s.rank_bound, "trace": s.trace,
                            "effective_rank": s.effective_rank, "k95": s.k95, "eigenvalues": s.eigenvalues[:10]}
                    for layer, s in by_layer.items()} for name, by_layer in first_draws(spectra).items()}
    for name, by_layer in found.items():
        draws = [drawn for other, drawn in spectra.items() if scenario_draw(other)[0] == name]
        for layer, entry in by_layer.items() if len(draws) > 1 else ():
            ranks = [drawn[layer].effective_rank for drawn in draws]
            entry["draws"] = {"n": len(ranks), "mean": float(np.mean(ranks)), "low": min(ranks), "high": max(ranks)}
    return found


def remark(scenario: str, layer: str, frozen: Sequence[str] = ()) -> str:
    """What a row must say beside its numbers: that the layer was frozen, that the images are a stand-in, or nothing."""
    if scenario == "finetuned_own" and layer in frozen:
        return "frozen: as initial by construction"
    return "stand-in" if is_stand_in(scenario) else ""


def spectra_table(spectra: Mapping[str, Mapping[str, Spectrum]], *, frozen: Sequence[str] = ()) -> pd.DataFrame:
    """One row per scenario, draw of its weights and layer: sizes, trace, effective rank and its like, and a remark."""
    rows = []
    for name, by_layer in spectra.items():
        scenario, draw = scenario_draw(name)
        rows += [{"scenario": scenario, "draw": draw, "layer": layer, "channels": s.channels, "images": s.images,
                  "rank bound": s.rank_bound, "trace": s.trace, "effective rank": s.effective_rank,
                  "participation ratio": s.participation_ratio, "k95": s.k95, "k99": s.k99,
                  "remark": remark(scenario, layer, frozen)} for layer, s in by_layer.items()]
    return pd.DataFrame(rows)


def ranks_by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Effective ranks of a spectra_table in its order: layers down, scenarios across, of several draws the first."""
    first = table.drop_duplicates(["scenario", "layer"])
    ranks = first.pivot(index="layer", columns="scenario", values="effective rank")
    return ranks.loc[list(dict.fromkeys(table["layer"])), list(dict.fromkeys(table["scenario"]))]


def eigenvalue_table(spectra: Mapping[str, Mapping[str, Spectrum]], *, first: int = 10) -> pd.DataFrame:
    """The `first` eigenvalues themselves, one row per scenario and layer; missing where there are fewer.

    0 where they are no more than rounding of float32 features: directions that the layer does not have.
    """
    return pd.DataFrame([{"scenario": scenario_title(name), "layer": layer}
                         | {f"λ{k}": value if value > found.rounding else 0.0
                            for k, value in enumerate(found.eigenvalues[:first], 1)}
                         for name, by_layer in spectra.items() for layer, found in by_layer.items()])


def certainty_table(errors: Mapping[str, Mapping[str, BootstrapSpectrum]], halves: Mapping[str, Mapping[str, SplitHalf]], *,
                    leading: int = 10, frozen: Sequence[str] = ()) -> pd.DataFrame:
    """One row per scenario and layer: the effective rank, its spread at this N, and what two halves of the images say.

    "ratio low", "ratio high": of the fine-tuned network, the spread of its effective rank divided by the initial one's.
    `leading` directions of the first half (k: fewer where it has fewer) are compared by their share of the variance in the
    half that chose them and in the other; "found again" counts all directions of the first half (see SplitHalf).
    """
    rows = []
    for scenario, by_layer in errors.items():
        for layer, boot in by_layer.items():
            half, whole = halves[scenario][layer], boot.estimate
            k, (low, high) = min(leading, half.first.rank_bound), boot.effective_rank_spread()
            initial = errors.get("imagenet_own", {}).get(layer) if scenario == "finetuned_own" else None
            ratio = rank_ratio_spread(boot, initial) if initial else (float("nan"), float("nan"))
            rows.append({"scenario": scenario, "layer": layer, "images": whole.images,
                         "effective rank": whole.effective_rank, "spread low": low, "spread high": high,
                         "ratio low": ratio[0], "ratio high": ratio[1],
                         "first half": half.first.effective_rank, "second half": half.second.effective_rank,
                         "noise": effective_rank(whole.noise()), "k": k,
                         "share of leading k": _part(half.first.all_eigenvalues[:k].sum(), half.first.trace),
                         "in second half": _part(half.held_out[:k].sum(), half.second.trace),
                         "found again": half.found_again, "by chance": half.chance,
                         "remark": remark(scenario, layer, frozen)})
    return pd.DataFrame(rows)


def _part(value: float, whole: float) -> float:
    return float(value / whole) if whole > 0 else float("nan")


def comparison_table(statistics: Mapping[str, Mapping[str, LayerStatistics]], layers: Sequence[str], m: int, *,
                     frozen: Sequence[str] = (), seed: int = 0) -> pd.DataFrame:
    """compare_features of the fine-tuned and of the random network with the initial one on own images, one row per layer.

    Of random weights the first draw. No rows where there is no such pair.
    """
    pairs = [(a, "imagenet_own") for a in ("finetuned_own", "random_own") if {a, "imagenet_own"} <= set(statistics)]
    rows = [{"networks": f"{a} and {b}", "layer": layer,
             **compare_features(statistics[a][layer].features, statistics[b][layer].features, m, seed=seed),
             "remark": remark(a, layer, frozen)} for a, b in pairs for layer in layers]
    return pd.DataFrame(rows, columns=["networks", "layer", "m", "overlap", "overlap by chance", "CKA",
                                       "CKA of shuffled images", "remark"])
