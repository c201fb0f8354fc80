"""The numbers of notebook 03 once more, from the pooled features of a hand-in."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from inside.feature_maps.report import Certainty, check_certainty
from inside.feature_maps.scenario_names import main_scenarios, mark_frozen, scenario_title
from inside.feature_maps.shares import over_draws, share_overview
from inside.feature_maps.spectra import Spectrum, measure_spectra
from inside.feature_maps.spectra_tables import comparison_table, eigenvalue_table, spectra_results, spectra_table
from inside.feature_maps.statistics import LayerStatistics
from inside.many_runs.check.files import HandIn
from inside.many_runs.check.rows import DIFFERS, HOLDS, NOT_FOUND, OTHER_VERSION, Row, Tolerance, compared, number_of
from inside.many_runs.check.shares import frozen_names

# Features are kept as they were pooled, in float32. Eigenvalues come from products in float64, which libraries of linear
# algebra sum in other orders: they differ by rounding of the largest one, so of the trace.
RELATIVE, OF_TRACE = 1e-6, 1e-9
# Ranks, resamples and angles between directions hang on small eigenvalues, too, of which rounding is a larger part.
DERIVED = Tolerance(1e-4, 1e-6)


@dataclass(frozen=True)
class Features:
    """The pooled features that a hand-in keeps in spectra.npz, {scenario: {layer: statistics}} that hold nothing else."""

    hand_in: HandIn
    statistics: Mapping[str, Mapping[str, LayerStatistics]]

    @classmethod
    def of(cls, hand_in: HandIn) -> Features:
        """Those of a hand-in. ValueError where they are no tables of finite numbers."""
        arrays, found = hand_in.arrays("spectra.npz"), dict[str, dict[str, LayerStatistics]]()
        for name in (name for name in arrays if name.endswith("/features")):
            scenario, _, layer = name.removesuffix("/features").partition("/")
            features = arrays[name]
            if features.ndim != 2 or not np.isfinite(features).all():
                raise ValueError("spectra.npz has features that are no table of finite numbers.")
            found.setdefault(scenario, {})[layer] = LayerStatistics(layer, 1, pooled=[features])
        return cls(hand_in, found)

    @functools.cached_property
    def spectra(self) -> dict[str, dict[str, Spectrum]]:
        """The spectra of all scenarios and layers."""
        return measure_spectra(self.statistics, top_k=int(self.hand_in.settings["TOP_K"]))

    @functools.cached_property
    def frozen(self) -> list[str]:
        """The layers that fine-tuning left as they were."""
        return frozen_names(self.hand_in)

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """The spectra_table; rows of further draws of random weights, whose features are not kept, as they are told."""
        made, told = spectra_table(self.spectra, frozen=self.frozen), self.told_draws
        if told.empty:
            return made
        order = list(dict.fromkeys([*self.spectra, *told["scenario"]]))
        remarks = ["" if pd.isna(remark) else remark for remark in told["remark"]]
        both = pd.concat([made, told[made.columns].assign(remark=remarks)], ignore_index=True)
        both["place"] = both["scenario"].map(order.index)
        return both.sort_values(["place", "draw"], kind="stable", ignore_index=True).drop(columns="place")

    @functools.cached_property
    def told_draws(self) -> pd.DataFrame:
        """The rows of tables/spectra.csv that are of further draws."""
        told = self.hand_in.table("03", "spectra")
        return pd.DataFrame({"draw": []}) if told is None else told[told["draw"] > 1]

    @functools.cached_property
    def certainty(self) -> Certainty:
        """Bootstrap and halves, with the parameters of the run."""
        settings = self.hand_in.settings
        return check_certainty(self.statistics, n_resamples=settings["RESAMPLES"], n_leading=settings["OVERLAP_DIRECTIONS"],
                               frozen=self.frozen, seed=settings["SEED"])

    @functools.cached_property
    def compared(self) -> pd.DataFrame:
        """The directions of two networks compared."""
        layers = list(next(iter(self.statistics.values())))
        return comparison_table(self.statistics, layers, self.hand_in.settings["OVERLAP_DIRECTIONS"], frozen=self.frozen,
                                seed=self.hand_in.settings["SEED"])

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """{name: table} of what notebook 03 writes into tables/."""
        again = over_draws(self.certainty.table, "found again").rename(columns=scenario_title).reset_index()
        return {"spectra": self.table, "top_k_eigenvalues": eigenvalue_table(main_scenarios(self.spectra)),
                "effective_ranks": mark_frozen(share_overview(self.table, "effective rank"), self.frozen),
                "found_again": mark_frozen(again, self.frozen), "certainty": self.certainty.table,
                "directions": self.compared}


def check_spectra(found: Features) -> Iterator[Row]:
    """Eigenvalues, traces, effective ranks and k95 from the pooled features: in spectra.npz and 03_results.json."""
    told, arrays, rows = found.hand_in.results("03").get("scenarios"), found.hand_in.arrays("spectra.npz"), list[Row]()
    told = {name: entry for name, entry in told.items() if entry} if isinstance(told, Mapping) else {}
    yield from compared("03_results.json: its scenarios are those of spectra.npz", list(told), list(found.spectra))
    for scenario, by_layer in spectra_results(found.spectra).items():
        for layer, made in by_layer.items():
            spectrum = found.spectra[scenario][layer]
            within = Tolerance(RELATIVE, OF_TRACE * spectrum.trace)
            own = {key: value for key, value in told.get(scenario, {}).get(layer, {}).items() if key != "draws"}
            rows += compared(f"03_results.json: {scenario}, {layer}", own, made, within)
            rows += compared(f"spectra.npz: eigenvalues of {scenario}, {layer}", arrays[f"{scenario}/{layer}/eigenvalues"],
                             spectrum.eigenvalues, within)
    wrong = [row for row in rows if row.verdict != HOLDS]
    yield from wrong or [Row("03_results.json, spectra.npz: traces, eigenvalues, ranks", HOLDS,
                             f"{number_of(len(rows), 'list')} of numbers", "the same")]


def check_spectra_tables(found: Features) -> Iterator[Row]:
    """tables/*.csv of notebook 03 from the pooled features."""
    trace = max(spectrum.trace for by_layer in found.spectra.values() for spectrum in by_layer.values())
    for name, made in found.tables.items():
        if (told := found.hand_in.table("03", name)) is not None:
            within = Tolerance(RELATIVE, OF_TRACE * trace) if name == "top_k_eigenvalues" else DERIVED
            rows = compared(f"tables/{name}.csv", told, made, within)
            yield from rows if found.hand_in.of_this_release("03") else (
                replace(row, verdict=OTHER_VERSION) if row.verdict == DIFFERS else row for row in rows)
    if not found.told_draws.empty:
        yield Row("tables/spectra.csv: further draws of random weights", NOT_FOUND, number_of(len(found.told_draws), "row"),
                  remark="their features are not kept")
