"""Tables of the shares of non-positive values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from torch import Tensor, nn

from inside.feature_maps.hooks import capture, only_tensor
from inside.feature_maps.scenario_names import first_draws, scenario_draw, scenario_title
from inside.feature_maps.statistics import LayerStatistics, by_scenario, collect_statistics

SHARE_COLUMNS = ["scenario", "layer", "draw", "channels", "images", "values", "non_positive", "non_positive_share"]


def count_twice(model: nn.Module, images: Tensor, layers: Sequence[str]) -> pd.DataFrame:
    """Values <= 0 that each layer gives for a batch (N,C,H,W), as `collect_statistics` counts them and the plain way.

    The plain way: copy every output when it is there, and count in the copies with NumPy at the end. Columns layer, values,
    by_hook, by_hand.
    """
    kept: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    with capture(model, layers, lambda name, output: kept[name].append(only_tensor(name, output).detach().clone())):
        counted = collect_statistics(model, [images], layers)
    copies = {layer: [copy.float().cpu().numpy() for copy in outputs] for layer, outputs in kept.items()}
    rows = [(layer, sum(copy.size for copy in copies[layer]), int(counted[layer].counts.total[0].sum()),
             sum(int((copy <= 0).sum()) for copy in copies[layer])) for layer in layers]
    return pd.DataFrame(rows, columns=["layer", "values", "by_hook", "by_hand"])


def share_table(statistics: Mapping[str, Mapping[str, LayerStatistics]]) -> pd.DataFrame:
    """One row per scenario, layer and draw of random weights: SHARE_COLUMNS, dead_channels, activation, reason.

    `values` are those that are numbers. dead_channels is missing where the map neither comes from an activation nor goes
    into one, and `reason` says why.
    """
    rows = []
    for name, by_layer in by_scenario(statistics).items():
        for layer, state in by_layer.items():
            non_positive, nan, values = (int(number) for number in state.counts.total.sum(1))
            (scenario, draw), dead, after = scenario_draw(name), state.dead_channels, state.after
            rows.append((scenario, layer, draw, state.channels, state.images, values - nan, non_positive, state.counts.share,
                         None if dead is None else len(dead), after.activation, after.reason))
    table = pd.DataFrame(rows, columns=[*SHARE_COLUMNS, "dead_channels", "activation", "reason"])
    return table.astype({"dead_channels": "Int64"})


def over_draws(table: pd.DataFrame, value: str, how: str = "mean") -> pd.DataFrame:
    """A column of a table by layer (index) and scenario (columns), its mean ("min", "max") over the draws."""
    values = table.assign(**{value: table[value].astype(float)})
    wide = values.groupby(["layer", "scenario"], sort=False)[value].agg(how).unstack()
    return wide.reindex(index=table["layer"].unique(), columns=table["scenario"].unique())


def share_overview(shares: pd.DataFrame, value: str = "non_positive_share") -> pd.DataFrame:
    """One row per layer, one column per scenario; of several draws of random weights mean, lowest and highest value."""
    mean, low, high = (over_draws(shares, value, how) for how in ("mean", "min", "max"))
    number = shares.groupby("scenario")["draw"].max()
    table = pd.DataFrame({"layer": mean.index})
    for name in mean:
        if number[name] > 1:
            table[f"{name}, mean of {number[name]} draws"] = mean[name].to_numpy()
            table[f"{name}, lowest"], table[f"{name}, highest"] = low[name].to_numpy(), high[name].to_numpy()
        else:
            table[scenario_title(name)] = mean[name].to_numpy()
    return table


def dead_overview(shares: pd.DataFrame) -> pd.DataFrame:
    """Dead channels by layer and scenario, and the activation after which they are counted, or why there is none."""
    first = shares.drop_duplicates("layer").set_index("layer")
    table = share_overview(shares, "dead_channels")
    found = [row.activation and f"after {row.activation}" or row.reason for row in first.loc[table["layer"]].itertuples()]
    table.insert(1, "channels", first.loc[table["layer"], "channels"].to_numpy())
    return table.assign(counted=found)


def channel_share_table(statistics: Mapping[str, Mapping[str, LayerStatistics]]) -> pd.DataFrame:
    """Share of values <= 0 of every channel: scenario, layer, channel, share; of several draws of weights the first."""
    return pd.concat([pd.DataFrame({"scenario": name, "layer": layer, "channel": range(state.channels),
                                    "share": state.counts.share_by_channel})
                      for name, by_layer in first_draws(statistics).items() for layer, state in by_layer.items()],
                     ignore_index=True)


def class_share_table(statistics: Mapping[str, LayerStatistics], classes: Sequence[str]) -> pd.DataFrame:
    """Share of values <= 0 by layer (index) and class of the image (columns), of one scenario.

    `classes`: those of the images that were measured (`Scenario.images.classes`), whose places the labels are. ValueError
    where the labels are not those of these classes.
    """
    for layer, state in statistics.items():
        if sorted(state.counts.table) != list(range(len(classes))):
            raise ValueError(f"The images of {layer!r} have the labels {sorted(state.counts.table)}; expected those of "
                             f"{len(classes)} classes, {', '.join(classes)}, each with images.")
    shares = {layer: state.counts.share_by_class for layer, state in statistics.items()}
    return pd.DataFrame([[by_class[label] for label in range(len(classes))] for by_class in shares.values()],
                        index=list(shares), columns=list(classes))


def share_results(shares: pd.DataFrame) -> dict[str, dict[str, dict]]:
    """{scenario: {layer: numbers}} for 02_results.json: those of the first draw; mean and range where there are several."""
    found: dict[str, dict[str, dict]] = {}
    for (name, layer), rows in shares.groupby(["scenario", "layer"], sort=False):
        first, several = rows.iloc[0], rows["non_positive_share"]
        entry = {"channels": first["channels"], "images": first["images"], "non_positive_share": several.iloc[0],
                 "dead_channels": None if pd.isna(first["dead_channels"]) else int(first["dead_channels"])}
        entry |= {"activation": first["activation"]} if first["activation"] else {"dead_channels_reason": first["reason"]}
        if len(rows) > 1:
            entry["draws"] = {"n": len(rows), "mean": several.mean(), "low": several.min(), "high": several.max()}
        found.setdefault(name, {})[layer] = entry
    return found
