"""Several networks side by side, on the same split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from inside.data.split import Split
from inside.device import choose_device
from inside.evaluation.metrics import class_metrics
from inside.evaluation.predictions import saved_predictions
from inside.files import RunFolder
from inside.shown import Figure, Shown, Table, Text
from inside.text import format_duration, format_share, format_value, percent
from inside.training.compatible import is_random, with_overrides
from inside.training.experiment import load_trained, train_into, training_fingerprint
from inside.training.plots import plot_learning_curves


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Networks side by side, none where COMPARE is empty: a table with one row per network, and {name: history}.

    Columns: name, from_scratch (whether training starts from random weights), trainable, epochs, seconds, val, test (mean
    class accuracy), test_low, test_high (95% intervals), test_accuracy (overall).
    """

    table: pd.DataFrame
    histories: dict[str, pd.DataFrame]

    def report(self) -> list[Shown]:
        """The table, validation accuracy by epoch, and what follows."""
        if self.table.empty:
            return [Text("No networks were compared in this run: `COMPARE` is empty, or `TRAIN` is False; the profile "
                         "“comparison” has some.")]
        told = "; ".join(f"{row['name']} {format_share(row['val'])}" for row in self.table.to_dict("records"))
        best = describe_best(self.table)
        return [Table(format_comparison(self.table), "comparison", f"{best} One row per network; its epoch is chosen on "
                      "validation, and nothing on test."),
                Figure(plot_learning_curves(self.histories).figure, "comparison",
                       f"Mean class accuracy on validation by epoch for {len(self.table)} networks; at the chosen epoch: "
                       f"{told}.", f"{describe_first(self.histories)} A star marks the chosen epoch of each network."),
                Text.bullets(describe_comparison(self.table, self.histories))]

    def results(self) -> list[dict] | None:
        """One dictionary per network for 01_results.json; None where there are none."""
        return self.table.to_dict("records") if len(self.table) else None


def compare(run: RunFolder, settings: Mapping[str, Any], split: Split) -> Comparison:
    """Train the rows of COMPARE on the same split, then score each once on test.

    Each row is in comparison/<number>/ of the run folder, and used again where nothing has changed; a row with the settings
    of the run itself is the run. Nothing is compared where TRAIN is False.
    """
    folders = []
    for number, change in enumerate(settings["COMPARE"] if settings["TRAIN"] else [], 1):
        own = with_overrides(settings, change)
        same = training_fingerprint(own, split) == training_fingerprint(settings, split)
        folders.append(run if same else RunFolder(str(run.path("comparison", str(number)))))
        print(f"{row_name(settings, change)}:")
        train_into(folders[-1], own, split, features=run.path("features"))
    rows, histories = [], {}
    for change, folder in zip(settings["COMPARE"], folders, strict=False):  # all are trained: now the test images, once
        name = row_name(settings, change)
        row, histories[name] = _score_row(folder, with_overrides(settings, change), split)
        rows.append({"name": name, **row})
    return Comparison(pd.DataFrame(rows), histories)


def _score_row(folder: RunFolder, own: Mapping[str, Any], split: Split) -> tuple[dict[str, Any], pd.DataFrame]:
    """A row of the table of a Comparison, without its name, and the history of its training."""
    model, saved, history = load_trained(folder, split=split)
    model.to(choose_device(own["DEVICE"]))
    predictions = {part: saved_predictions(folder, part, model, split, workers=own["WORKERS"],
                                         processes=own["PROCESSES"]) for part in ("val", "test")}
    val, test = (class_metrics(table, split.classes, groups=split.parts[part].get("group")).iloc[-1]
                 for part, table in predictions.items())
    overall = float((predictions["test"]["label"] == predictions["test"]["predicted"]).mean())
    return {"from_scratch": is_random(own), "trainable": saved.costs["trainable"], "epochs": len(history),
            "seconds": saved.seconds, "val": val["accuracy"], "test": test["accuracy"], "test_low": test["accuracy_low"],
            "test_high": test["accuracy_high"], "test_accuracy": overall}, history


def row_name(settings: Mapping[str, Any], change: Mapping[str, Any]) -> str:
    """What a reader calls a row of the comparison; with all its changes where two rows would have the same name."""
    def short(row):
        own = with_overrides(settings, row)
        kind = "from scratch" if is_random(own) else f"{own['STRATEGY']}, pretrained"
        return f"{own['ARCHITECTURE']}, {kind}"
    twice = [short(row) for row in settings["COMPARE"]].count(short(change)) > 1
    told = f" ({', '.join(f'{key.lower()} {format_value(value)}' for key, value in change.items())})" if twice else ""
    return short(change) + told


def format_comparison(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `compare` for a page."""
    shown = pd.DataFrame({"network": table["name"], "trainable weights": table["trainable"], "epochs": table["epochs"],
                          "seconds": table["seconds"].round().astype(int), "validation": table["val"],
                          "test": table["test"]})
    ends = table[["test_low", "test_high"]].to_numpy()
    shown["test: 95% interval"] = [f"{format_share(low)} to {format_share(high)}" for low, high in ends]
    return shown.rename(columns={"validation": "validation: mean class accuracy", "test": "test: mean class accuracy"})


def describe_best(table: pd.DataFrame) -> str:
    """From which network to which the mean class accuracies on test go."""
    ranked = table[table["test"].notna()].sort_values("test", ascending=False, kind="stable")
    if ranked.empty:
        return "No network has a score on test."
    if len(ranked) == 1:
        return f"{ranked['name'].iloc[0]} has a mean class accuracy of {format_share(ranked['test'].iloc[0])} on test."
    high, low = (f"{format_share(row['test'])} ({row['name']})" for row in (ranked.iloc[0], ranked.iloc[-1]))
    return f"Mean class accuracy on test goes from {low} to {high}."


def describe_first(histories: Mapping[str, pd.DataFrame]) -> str:
    """Which network is best after its first epoch."""
    first = pd.Series({name: history["val_mean_class_accuracy"].iloc[0] for name, history in histories.items()}).dropna()
    if first.empty:
        return "No network has a score after its first epoch."
    others = f", {first.idxmin()} at {format_share(first.min())}" if round(first.max(), 3) > round(first.min(), 3) else ""
    return f"After one epoch {first.idxmax()} is at {format_share(first.max())} on validation{others}."


def describe_comparison(table: pd.DataFrame, histories: Mapping[str, pd.DataFrame]) -> list[str]:
    """Sentences on the comparison, from its numbers: the best on validation, the fastest, and those from scratch.

    A network without a score is passed over; differences that are shown as 0.000 are called none.
    """
    ranked = table[table["val"].notna()].sort_values("val", ascending=False, kind="stable")
    if ranked.empty:
        return []
    best, quick = ranked.iloc[0], ranked.loc[ranked["seconds"].idxmin()]
    val, test, low, high = (format_share(best[name]) for name in ("val", "test", "test_low", "test_high"))
    interval = f", 95% interval {low} to {high}" if pd.notna(best["test_low"]) else ""
    level = ranked.index[(best["val"] - ranked["val"]) < 0.0005].drop(best.name)
    equals = f" Level with it: {', '.join(ranked.loc[level, 'name'])}." if len(level) else ""
    lines = [f"Best on validation: **{best['name']}** ({val}; test {test}{interval}).{equals}"]
    if quick["seconds"] < best["seconds"]:
        lines.append(f"Fastest: **{quick['name']}**, in {format_duration(quick['seconds'])}: "
                     f"{percent(quick['seconds'] / best['seconds'], 0)} of the best one's time, and "
                     f"{_below(best, quick, 'it')} on validation.")
    for row in ranked[ranked["from_scratch"]].drop(best.name, errors="ignore").to_dict("records"):
        history = histories[row["name"]]
        by_then = history.loc[history["seconds"].cumsum() <= quick["seconds"], "val_mean_class_accuracy"].max()
        lines.append(f"**{row['name']}** stays {_below(best, row, 'the best')} on validation, with "
                     f"{row['trainable']:,} trainable weights, in {format_duration(row['seconds'])}."
                     + (f" When the fastest had finished, with {format_share(quick['val'])}, it had reached "
                        f"{format_share(by_then)}."
                        if by_then == by_then and quick["name"] != row["name"] else ""))
    return lines


def _below(best: Mapping, row: Mapping, what: str) -> str:
    """How far a row of the comparison is below the best on validation, in words."""
    gap = best["val"] - row["val"]
    return f"{gap:.3f} below {what}" if gap >= 0.0005 else f"level with {what}"
