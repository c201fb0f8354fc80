"""The numbers of notebook 02 once more, from the counts of a hand-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from inside.feature_maps.scenario_names import mark_frozen
from inside.feature_maps.shares import SHARE_COLUMNS, share_overview
from inside.many_runs.check.files import HandIn
from inside.many_runs.check.rows import Row, compared

TOLD = ("channels", "images", "non_positive_share", "draws")  # of 02_results.json, what counts tell


def check_shares(hand_in: HandIn) -> Iterator[Row]:
    """The shares of non-positive values: from the counts, in 02_results.json, and in the table of the notebook."""
    shares, told = hand_in.csv("feature_maps.csv", columns=SHARE_COLUMNS), hand_in.results("02").get("scenarios")
    values, numbers = shares["values"], shares["channels"] * shares["images"]
    yield from compared("feature_maps.csv: shares are non_positive / values", shares["non_positive_share"],
                        shares["non_positive"] / values)
    possible = (shares["non_positive"] >= 0) & (shares["non_positive"] <= values) & (values > 0) & (numbers > 0)
    yield from compared("feature_maps.csv: counts are possible", possible, [True] * len(shares))
    scenarios = told if isinstance(told, Mapping) else {}
    entries = {name: {layer: {key: entry[key] for key in TOLD if key in entry} for layer, entry in by_layer.items()}
               for name, by_layer in scenarios.items() if by_layer}
    yield from compared("02_results.json: shares of non-positive values", entries, remade_shares(hand_in))
    if (table := hand_in.table("02", "non_positive_shares")) is not None:
        yield from compared("tables/non_positive_shares.csv", table, mark_frozen(
            share_overview(shares), frozen_names(hand_in)))


def remade_shares(hand_in: HandIn) -> dict[str, dict[str, dict]]:
    """{scenario: {layer: numbers}} as 02_results.json has them, from feature_maps.csv."""
    shares, made = hand_in.csv("feature_maps.csv", columns=SHARE_COLUMNS), dict[str, dict[str, dict]]()
    for (name, layer), rows in shares.groupby(["scenario", "layer"], sort=False):
        first, several = rows.iloc[0], rows["non_positive"] / rows["values"]
        entry = {"channels": first["channels"], "images": first["images"], "non_positive_share": several.iloc[0]}
        if len(rows) > 1:
            entry["draws"] = {"n": len(rows), "mean": several.mean(), "low": several.min(), "high": several.max()}
        made.setdefault(name, {})[layer] = entry
    return made


def frozen_names(hand_in: HandIn) -> list[str]:
    """The layers that fine-tuning left as they were, as notebook 02 tells; [] where it has not run."""
    found = hand_in.results("02").get("frozen") if hand_in.has("02_results.json") else []
    return [str(name) for name in found] if isinstance(found, list) else []
