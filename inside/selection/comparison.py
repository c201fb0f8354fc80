"""Several networks side by side, on the same split."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from inside.data.loading import ImageDataset, make_loader, make_transform
from inside.data.split import Split
from inside.device import choose_device
from inside.evaluation.metrics import class_metrics
from inside.evaluation.predictions import saved_predictions
from inside.files import RunFolder
from inside.text import format_duration, format_value
from inside.training.compatible import is_random, with_overrides
from inside.training.experiment import load_trained, train_into, training_fingerprint


def compare(run: RunFolder, settings: Mapping[str, object],
            split: Split) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Train the rows of COMPARE on the same split, then score each once on test: (table, {name: history}).

    Columns: name, from_scratch (whether training starts from random weights), trainable, epochs, seconds, val, test (mean
    class accuracy), test_low, test_high (95 % intervals), test_accuracy (overall). Each row is in comparison/<number>/ of
    the run folder, and used again where nothing has changed; a row with the settings of the run itself is the run.
    """
    rows = []
    for number, change in enumerate(settings["COMPARE"], 1):
        own = with_overrides(settings, change)
        name = row_name(settings, change)
        same = training_fingerprint(own, split) == training_fingerprint(settings, split)
        folder = run if same else RunFolder(str(run.path("comparison", str(number))))
        print(f"{name}:")
        if train_into(folder, own, split, features=run.path("features")):
            print("used again: nothing has changed")
        rows.append((name, folder, own))
    found, histories = [], {}
    for name, folder, own in rows:  # all are trained: now the test images, once
        model, saved, history = load_trained(folder, split=split)
        model.to(choose_device(own["DEVICE"]))
        scores = {}
        for part in ("val", "test"):
            table = split.parts[part]
            transform = make_transform(saved.preprocessing, saved.image_size)
            loader = make_loader(ImageDataset(table, split.root, split.classes, transform),
                                 batch_size=own["BATCH_SIZE"], workers=own["WORKERS"])
            predictions = saved_predictions(folder, part, model, loader, table, split.classes)
            scores[part] = class_metrics(predictions, split.classes, groups=table.get("group")).iloc[-1]
            overall = float((predictions["label"] == predictions["predicted"]).mean())
        histories[name] = history
        found.append({"name": name, "from_scratch": is_random(own), "trainable": saved.costs["trainable"],
                      "epochs": len(history), "seconds": saved.seconds, "val": scores["val"]["accuracy"],
                      "test": scores["test"]["accuracy"], "test_low": scores["test"]["accuracy_low"],
                      "test_high": scores["test"]["accuracy_high"], "test_accuracy": overall})
    return pd.DataFrame(found), histories


def row_name(settings: Mapping[str, object], change: Mapping[str, object]) -> str:
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
    shown["test: 95 % interval"] = [f"{low:.3f} to {high:.3f}" for low, high in ends]
    return shown.rename(columns={"validation": "validation: mean class accuracy", "test": "test: mean class accuracy"})


def describe_comparison(table: pd.DataFrame, histories: Mapping[str, pd.DataFrame]) -> list[str]:
    """Sentences on the comparison, from its numbers: the best on validation, the quickest, and those from scratch.

    A network without a score is passed over; differences that are shown as 0.000 are called none.
    """
    ranked = table[table["val"].notna()].sort_values("val", ascending=False, kind="stable")
    if ranked.empty:
        return []
    best, quick = ranked.iloc[0], ranked.loc[ranked["seconds"].idxmin()]
    interval = f", 95 % interval {best['test_low']:.3f} to {best['test_high']:.3f}" if pd.notna(best["test_low"]) else ""
    level = ranked.index[(best["val"] - ranked["val"]) < 0.0005].drop(best.name)
    equals = f" Level with it: {', '.join(ranked.loc[level, 'name'])}." if len(level) else ""
    lines = [f"Best on validation: **{best['name']}** ({best['val']:.3f}; test {best['test']:.3f}{interval}).{equals}"]
    if quick["seconds"] < best["seconds"]:
        lines.append(f"Quickest: **{quick['name']}**, in {format_duration(quick['seconds'])}: "
                     f"{quick['seconds'] / best['seconds']:.0%} of the best one's time, and "
                     f"{_below(best, quick, 'it')} on validation.")
    for row in ranked[ranked["from_scratch"]].drop(best.name, errors="ignore").to_dict("records"):
        history = histories[row["name"]]
        by_then = history.loc[history["seconds"].cumsum() <= quick["seconds"], "val_mean_class_accuracy"].max()
        lines.append(f"**{row['name']}** stays {_below(best, row, 'the best')} on validation, with "
                     f"{row['trainable']:,} weights that learn, in {format_duration(row['seconds'])}."
                     + (f" When the quickest was done, with {quick['val']:.3f}, it had reached {by_then:.3f}."
                        if by_then == by_then and quick["name"] != row["name"] else ""))
    return lines


def _below(best: Mapping, row: Mapping, what: str) -> str:
    """How far a row of the comparison is below the best on validation, in words."""
    gap = best["val"] - row["val"]
    return f"{gap:.3f} below {what}" if gap >= 0.0005 else f"level with {what}"
