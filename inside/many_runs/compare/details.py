"""Sections of the page of a comparison: learning curves, classes, images, feature maps.

Each appends to `missing` a sentence for what it cannot show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from inside.data.table import UnreadableImage
from inside.files import read_json
from inside.many_runs.compare.finished import FinishedRun, grouped, run_labels
from inside.many_runs.compare.plots import (
    LAYERS_SHOWN,
    plot_by_run,
    plot_classes,
    plot_one_sided,
    plot_spectra,
    put_legend,
    run_styles,
    wide_axes,
)
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import format_number, format_share, listed, literal, points
from inside.training.plots import plot_learning_curves

PICTURES, ROWS, CLASSES_DRAWN, MOST_COLUMNS = 12, 30, 20, 12
MEASURED = (("02", "non_positive_share", "share of values ≤ 0"), ("03", "effective_rank", "effective rank"))
OWN = "finetuned_own"  # the scenario that differs between runs
NEEDED = ["epoch", "val_loss", "val_mean_class_accuracy"]


def learning_curves(runs: Sequence[FinishedRun], missing: list[str]) -> Iterator[Shown]:
    """Mean class accuracy on validation by epoch, of all runs that have a history."""
    histories, without = {}, []
    for run in runs:
        try:
            history = run.found.table("history.csv")[NEEDED].astype(float)
        except (ValueError, KeyError, OSError):
            history = pd.DataFrame(columns=NEEDED)
        if history["val_mean_class_accuracy"].notna().any():
            histories[run.name] = history
        else:
            without.append(run.name)
    if without:
        missing.append(f"Learning curves of {_named(without)}: there is no history.csv, or none that can be read.")
    if histories:
        styles = run_styles(runs)
        ax = plot_learning_curves(histories, styles=styles, ax=wide_axes(styles))
        put_legend(ax, styles, "★ chosen epoch")
        last = {name: history["val_mean_class_accuracy"].max() for name, history in histories.items()}
        same = len(histories) == 1 or len({run.validation or run.name for run in runs if run.name in histories}) == 1
        yield Figure(ax.figure, "learning", "Mean class accuracy on validation by epoch; the highest of each run: "
                     f"{_told(last)}.", "Mean class accuracy on validation by epoch."
                     + " Not all of these runs are known to have had the same validation images: where they had not, "
                     "heights cannot be compared." * (not same))


def classes(runs: Sequence[FinishedRun], missing: list[str]) -> Iterator[Shown]:
    """Accuracy and average precision of each class on test, the runs side by side."""
    rows = [{"class": name, "run": run.name, **{measure: _number(numbers.get(measure)) for measure in _MEASURES}}
            for run in runs for name, numbers in _rows(run.own["test"].get("per_class")).items()]
    if not rows:
        missing.append("Numbers by class: no run has any.")
        return
    long = pd.DataFrame(rows)
    wide = {measure: long.pivot(index="class", columns="run", values=measure) for measure in _MEASURES}
    spread = (wide["accuracy"].max(axis=1) - wide["accuracy"].min(axis=1)).fillna(-1)
    order = spread.sort_values(ascending=False, kind="stable").index
    first = (f"Accuracies differ most in **{literal(order[0])}**, by {points(spread[order[0]])} percentage points"
             if spread[order[0]] > 0 else "No class has accuracies that differ")
    drawn = long.set_index("class").loc[order[:CLASSES_DRAWN]].reset_index()
    which = "each class" if len(order) <= CLASSES_DRAWN else f"{CLASSES_DRAWN} of {len(order):,} classes"
    yield Figure(plot_classes(drawn, run_styles(runs)), "classes",
                 f"Accuracy and average precision of {which} on test, a marker a run; the numbers are in the table below.",
                 f"{first}. Accuracy and average precision of {which} on test, the largest difference in accuracy first."
                 + " The runs were not all tested on the same images." * (len({run.images for run in runs}) > 1))
    yield from _class_tables({measure: table.loc[order] for measure, table in wide.items()}, run_labels(runs))


def _class_tables(wide: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> Iterator[Table]:
    """The numbers of classes (down) and runs (across) for each measure: one table, or one a measure where that is too wide.

    Where there are more runs than classes, the runs go down.
    """
    told = "of each class on test, the largest difference in accuracy first."
    named = {measure: table[[name for name in labels if name in table]].rename(columns=labels)
             for measure, table in wide.items()}
    if 2 * len(labels) <= MOST_COLUMNS:
        both = pd.concat([table.add_prefix(f"{_MEASURES[measure]}: ") for measure, table in named.items()], axis=1)
        yield Table(both.reset_index(), "classes", f"Accuracy and average precision (AP) {told}", rows=ROWS)
        return
    for measure, table in named.items():
        turned = table.T.rename_axis("run").rename_axis(None, axis=1) if len(labels) > len(table) else table
        yield Table(turned.reset_index(), f"classes_{measure}", f"{measure.replace('_', ' ').capitalize()} {told}",
                    rows=max(ROWS, len(labels)))


_MEASURES = {"accuracy": "accuracy", "average_precision": "AP"}


def one_sided_images(right: FinishedRun, wrong: FinishedRun) -> pd.DataFrame:
    """path, label, confidence (of `right`), predicted, wrong confidence: test images that only `right` classifies correctly.

    The most confident errors come first.
    """
    rows = np.flatnonzero(right.hits & ~wrong.hits)
    table = right.test.loc[rows, ["path", "label", "confidence"]]
    table[["predicted", "wrong confidence"]] = wrong.test.loc[rows, ["predicted", "confidence"]]
    return table.sort_values(["wrong confidence", "path"], ascending=[False, True], ignore_index=True)


def disagreements(group: Sequence[FinishedRun], missing: list[str]) -> Iterator[Shown]:
    """Images that one of the first two runs classifies correctly and the other does not, both ways."""
    if len(group) < 2:
        return
    root = next(filter(None, map(_root, group[:2])), None)
    if root is None:
        missing.append(f"Pictures of the test images of {_named([run.name for run in group[:2]])}: they are not where they "
                       "were.")
    for number, (right, wrong) in enumerate((group[:2], group[1::-1]), 1):
        found, names = one_sided_images(right, wrong), [f"**{literal(run.name)}**" for run in (right, wrong)]
        caption = (f"{len(found):,} of {len(right.test):,} test images are classified correctly by {names[0]}, but not by "
                   f"{names[1]}.")
        if found.empty:
            yield Text(caption)
            continue
        titles = {"confidence": f"confidence of {right.name}", "predicted": f"predicted by {wrong.name}",
                  "wrong confidence": f"confidence of {wrong.name}"}
        table = Table(found.rename(columns=titles), f"only_{number}", f"{caption} The most confident errors first.",
                      rows=PICTURES)
        drawn = root and _pictures(found, root, f"only_{number}", f"{caption} The most confident errors first: ✓ what "
                                   f"{names[0]} says, ✗ what {names[1]} says, each with its confidence.", missing)
        yield from (drawn, Fold("The same as a table", (table,))) if drawn else (table,)


def _pictures(found: pd.DataFrame, root: Path, name: str, caption: str, missing: list[str]) -> Figure | None:
    """The first images of `one_sided_images`; None where one of them cannot be read."""
    try:
        drawing = plot_one_sided(found.head(PICTURES), root)
    except UnreadableImage as error:
        missing.append(str(error))
        return None
    first = found.iloc[0]
    return Figure(drawing, name, f"{min(PICTURES, len(found))} test images; the first, {literal(first['path'])}, is "
                  f"{literal(first['label'])} and is taken for {literal(first['predicted'])} with a confidence of "
                  f"{format_share(first['wrong confidence'], 2)}.", caption)


def _root(run: FinishedRun) -> Path | None:
    """The folder of a run's images; None where it is not known, or gone."""
    try:
        root = Path(read_json(run.found.folder / "model.json")["root"])
    except (ValueError, KeyError, TypeError, OSError):
        return None
    return root if root.is_dir() else None


def feature_maps(runs: Sequence[FinishedRun], missing: list[str]) -> Iterator[Shown]:
    """Non-positive shares, effective ranks and spectra of the fine-tuned networks on their own images, by layer."""
    styles = run_styles(runs)
    for number, column, title in MEASURED:
        found = {run.name: by_layer for run in runs if (by_layer := _by_layer(run, number, column))}
        kept = _same_layers(found, runs, number, title, missing)
        if not kept:
            continue
        table = pd.DataFrame({name: {layer: value for layer, (value, _) in found[name].items()} for name in kept})
        images, write = next(iter(found[kept[0]].values()))[1], format_share if number == "02" else format_number
        last = "; ".join(f"{literal(name)} {write(table[name].iloc[-1], 2)}" for name in kept)
        yield Figure(plot_by_run(table, styles, title, share=number == "02"), column,
                     f"The {title} by layer, a line a run; in the last layer: {last}.",
                     f"The {title} by layer, of each run’s fine-tuned network on {images:,} of its own images.")
        if number == "03":
            yield from _spectra([run for run in runs if run.name in kept], list(table.index), styles, missing)


def _by_layer(run: FinishedRun, number: str, column: str) -> dict[str, tuple[float, int]]:
    """{layer: (number, images)} of the fine-tuned network on its own images; {} where not all are known."""
    scenarios = run.found.results[number].get("scenarios")
    layers = _rows(scenarios.get(OWN)) if isinstance(scenarios, Mapping) else {}
    found = {name: (_number(numbers.get(column)), numbers.get("images", 0)) for name, numbers in layers.items()}
    return {} if any(value != value for value, _ in found.values()) else found


def _rows(found: Any) -> dict[str, Mapping]:
    """{name: {…}} of a part of a results file; what is nothing of the kind is left out."""
    return {name: row for name, row in found.items() if isinstance(row, Mapping)} if isinstance(found, Mapping) else {}


def _same_layers(found: Mapping[str, Mapping], runs: Sequence[FinishedRun], number: str, title: str,
                 missing: list[str]) -> list[str]:
    """The names of the runs of the largest group with the same layers and numbers of images, [] for one run alone.

    What is missing is told.
    """
    groups = grouped([run for run in runs if run.name in found],
                     lambda run: repr([(layer, images) for layer, (_, images) in found[run.name].items()]))
    if not groups or len(groups[0]) < 2:
        missing.append(f"The {title} by layer: no two runs have results of notebook {number} for a fine-tuned network with "
                       "the same layers and number of images.")
        return []
    without = [run.name for run in runs if run.name not in found]
    if without:
        missing.append(f"The {title} of {_named(without)}: notebook {number} has not run there, or without a fine-tuned "
                       "network.")
    for group in groups[1:]:
        missing.append(f"The {title} of {_named([run.name for run in group])}: other layers, or another number of images.")
    return [run.name for run in groups[0]]


def _spectra(runs: Sequence[FinishedRun], layers: Sequence[str], styles: Mapping[str, dict],
             missing: list[str]) -> Iterator[Shown]:
    """The eigenvalues of each run by rank, a panel a layer."""
    spectra: dict[str, dict[str, np.ndarray]] = {}
    for run in runs:
        try:
            with np.load(run.found.folder / "spectra.npz") as file:
                values = {layer: np.asarray(file[f"{OWN}/{layer}/eigenvalues"], dtype=float) for layer in layers}
            traces = {layer: run.found.results["03"]["scenarios"][OWN][layer]["trace"] for layer in layers}
            spectra[run.name] = {layer: own / (traces[layer] or 1) for layer, own in values.items()}
        except (KeyError, ValueError, OSError):
            missing.append(f"The spectra of {literal(run.name)}: spectra.npz is gone, or cannot be read.")
    if spectra:
        told = f" The first {LAYERS_SHOWN} of {len(layers)} layers." if len(layers) > LAYERS_SHOWN else ""
        yield Figure(plot_spectra(spectra, styles), "spectra",
                     "Eigenvalues as shares of the variance by rank, a panel for "
                     f"each of {min(len(layers), LAYERS_SHOWN)} layers, a line for each of {len(spectra)} runs.",
                     f"The leading eigenvalues of the covariance of the pooled features, as shares of the variance.{told}")


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _named(names: Sequence[str]) -> str:
    return listed([literal(name) for name in names])


def _told(values: Mapping[str, float]) -> str:
    return "; ".join(f"{literal(name)} {format_share(value)}" for name, value in values.items())
