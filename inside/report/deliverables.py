"""What the course asks for, a row each: the answer in one line, where it is, and what stands in for it or is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from inside.evaluation.calibration_sentences import describe_calibration
from inside.evaluation.describe import describe_confusion, describe_ranges
from inside.evaluation.predictions import top_and_bottom
from inside.feature_maps.scenario_names import is_stand_in
from inside.names import SPLITS
from inside.report.found import IMAGE_SETS, NOT_RUN, Found
from inside.text import format_share, listed, literal, percent, points, round_share, slug

BEYOND = "Beyond the tasks"


@dataclass(frozen=True)
class Row:
    """A deliverable; `anchors`: patterns of the places to link; `remark`: "stand-in", "missing" or ""."""

    task: str
    name: str
    answer: str
    anchors: tuple[str, ...] = ()
    remark: str = ""


def deliverables(found: Found) -> list[Row]:
    """The rows of the three tasks, and of what goes beyond them."""
    return [*(_row(found, *row) for row in _ROWS), *_scenario_rows(found), *_beyond(found)]


def _row(found: Found, task: str, number: str, name: str, answer: Callable[[Found], str], anchors: tuple[str, ...]) -> Row:
    if not found.results[number]:
        return Row(task, name, NOT_RUN.format(number), (), "missing")
    told = answer(found)
    return Row(task, name, told or "not in this run", anchors, "" if told else "missing")


def _split(found: Found) -> str:
    sizes = found.results["01"].get("split", {})
    told = " / ".join(f"{sizes.get(part, 0):,}" for part in SPLITS)
    return f"{told} images, stratified" if sizes else ""


def _leaks(found: Found) -> str:
    leaks = found.results["01"].get("leaks")
    if not leaks:
        return ""
    near = f", {leaks['near']} pairs of near duplicates" if leaks.get("near") is not None else ""
    return f"{leaks['path']} shared paths, {leaks['content']} shared images by decoded pixels{near}"


def _losses(found: Found) -> str:
    history, own = found.table("history.csv"), found.results["01"]
    if history.empty or "train_loss" not in history:
        return ""
    kept = history[history["epoch"] == own.get("best_epoch")].tail(1)
    last = (kept if len(kept) else history.tail(1)).iloc[0]
    return (f"epoch {int(last['epoch'])} of {len(history)} kept: cross-entropy {last['train_loss']:.3f} in training, "
            f"{last['val_loss']:.3f} on validation")


def _class_epochs(found: Found) -> str:
    history = found.table("history.csv")
    rates = [name for name in history if name.startswith("val_accuracy_")]
    if not rates:
        return ""
    kept = history[history["epoch"] == found.results["01"].get("best_epoch")].tail(1)
    last = (kept if len(kept) else history.tail(1)).iloc[0][rates].astype(float).dropna()
    if last.empty:
        return ""
    last = last.map(round_share).rename(lambda name: literal(name.removeprefix("val_accuracy_")))
    ends = [f"{listed(list(last.index[last == end]))} {percent(end)}" for end in (last.min(), last.max())]
    return f"on validation at the epoch kept: lowest {ends[0]}, highest {ends[1]}"


def _by_class(found: Found) -> str:
    table = found.table("metrics_test.csv")
    told = describe_ranges(table).rstrip(".") if len(table) > 1 and (table["support"].iloc[:-1] > 0).any() else ""
    return f"on test, {told[0].lower()}{told[1:]}" if told else ""


def _confusion(found: Found) -> str:
    return "" if found.predictions.empty else describe_confusion(found.predictions).rstrip(".")


def _ranked(found: Found) -> str:
    """How many of the ten highest are of the class, for the classes that have a figure."""
    table, figures = found.predictions, {path.stem for path in (found.folder / "figures").glob("ranked_*.png")}
    names = [name for name in found.classes if f"ranked_{slug(name)}" in figures]
    if table.empty or not names:
        return ""
    told = []
    for name in names:
        highest, lowest = ((rows["label"] == name).sum() for rows in top_and_bottom(table, name))
        told.append(f"{literal(name)} {highest} and {lowest}")
    return (f"images of the class among the ten highest and the ten lowest: {', '.join(told)}; {len(names)} of "
            f"{len(found.classes)} classes are shown (RANKED_CLASSES)")


def _reproduced(found: Found) -> str:
    done = found.results["01"].get("reproduced")
    if not done:
        return ""
    same = "identical" if done["max_difference"] == 0 else f"differ by at most {done['max_difference']:.1g}"
    return f"{done['checked']:,} test images scored again: {same} (tolerance {done['tolerance']:g})"


def _layers(found: Found) -> str:
    return listed(found.results["02"].get("layers", []), 8)


def _shares(found: Found) -> str:
    names = {"finetuned_own": "fine-tuned", "imagenet_own": "initial"}
    scenarios = found.scenarios("02")
    told = []
    for name in [name for name in names if name in scenarios] or list(scenarios)[:1]:
        shares = [percent(entry["non_positive_share"]) for entry in scenarios[name].values()]
        told.append(f"{names.get(name, name)} {', '.join(shares)}")
    return f"from first to last layer: {'; '.join(told)}" if told else ""


def _covariance(found: Found) -> str:
    layers = next(iter(found.scenarios("03").values()), {})
    sizes = [f"{entry['channels']}×{entry['channels']}" for entry in layers.values()]
    return f"{listed(sizes, 8)}; checked against NumPy's in the run" if sizes else ""


def _compared(found: Found) -> str:
    pairs = found.moved("03", "effective_rank")
    told = ", ".join(f"{old:.1f} → {new:.1f}" for _, old, new in pairs)
    return f"effective rank by layer: {told}" if pairs else ""


_TASKS = ("1 · Split and classify", "2 · Feature-map statistics", "3 · Feature-map spectra")
_ROWS = (
    (_TASKS[0], "01", "Split into three parts", _split, ("table-split_counts",)),
    (_TASKS[0], "01", "Proof that the three are disjoint", _leaks, ("table-split_overlaps",)),
    (_TASKS[0], "01", "Loss curves", _losses, ("figure-training",)),
    (_TASKS[0], "01", "Accuracy of each class by epoch", _class_epochs, ("figure-training_classes",)),
    (_TASKS[0], "01", "Accuracy and AP by class", _by_class, ("table-metrics_test", "figure-class_metrics")),
    (_TASKS[0], "01", "Confusion matrix", _confusion, ("figure-confusion",)),
    (_TASKS[0], "01", "Ten highest and ten lowest images", _ranked, ("figure-ranked_*",)),
    (_TASKS[0], "01", "Reproduced from the saved network", _reproduced, ("01-*reproduc*",)),
    (_TASKS[1], "02", "Five feature maps", _layers, ("table-02_layers",)),
    (_TASKS[1], "02", "Share of non-positive values", _shares, ("figure-non_positive_shares", "table-non_positive_shares")),
    (_TASKS[2], "03", "Covariance over minibatches", _covariance, ("03-2-*",)),
    (_TASKS[2], "03", "Fine-tuned against initial", _compared, ("figure-effective_ranks", "figure-directions")),
)
_SCENARIOS = (("finetuned_own", "fine-tuned, own images"), ("imagenet_own", "initial, own images"),
              ("imagenet_imagenet", "initial, ImageNet images"),
              ("imagenet_cifar10", "initial, CIFAR-10 images"))
_STAND_IN_OF = {"imagenet_imagenet": ("imagenet_photo_patches", "imagenet_demo"),
                "imagenet_cifar10": ("imagenet_digits", "imagenet_demo")}


def _scenario_rows(found: Found) -> list[Row]:
    """The top-k eigenvalues, a row for each scenario that the course asks for."""
    there, missing = found.scenarios("03"), found.results["03"].get("missing", {})
    anchors = ("figure-top_k_eigenvalues", "table-top_k_eigenvalues")
    rows = []
    for name, title in _SCENARIOS:
        used = next((other for other in (name, *_STAND_IN_OF.get(name, ())) if other in there), None)
        if used is None:
            reason = missing.get(name, NOT_RUN.format("03") if not there else "not measured").rstrip(".")
            rows.append(Row(_TASKS[2], f"Top-k eigenvalues: {title}", reason, (), "missing"))
            continue
        told = _leading(there[used])
        if is_stand_in(used):
            told = f"{used.removeprefix('imagenet_').replace('_', ' ')} for {IMAGE_SETS[name.split('_')[1]]} images: {told}"
        rows.append(Row(_TASKS[2], f"Top-k eigenvalues: {title}", told, anchors, "stand-in" if is_stand_in(used) else ""))
    return rows


def _leading(layers: Mapping[str, Any]) -> str:
    """The share of the variance of the first eigenvalue, in the first and in the last layer."""
    known = [entry for entry in layers.values() if entry["trace"] and entry["eigenvalues"]]
    shares = [percent(entry["eigenvalues"][0] / entry["trace"]) for entry in known]
    return (f"λ₁ = {known[-1]['eigenvalues'][0]:.3g} in the last layer, {shares[-1]} of its variance; {shares[0]} in the "
            "first layer" if known else "no variance")


def _beyond(found: Found) -> list[Row]:
    """What goes beyond the tasks, where this run has it."""
    own, explained = found.results["01"], found.results["02"].get("explanations") or {}
    task, rows = BEYOND, []
    if own.get("search"):
        rows.append(Row(task, "Search over settings", _search(found), ("figure-search*", "figure-noise_band")))
    if own.get("comparison"):
        best = max(own["comparison"], key=lambda row: row["val"])
        rows.append(Row(task, "Networks side by side", f"of {len(own['comparison'])} networks on the same split the best on "
                        f"validation is “{best['name']}”, {percent(best['val'])}",
                        ("figure-comparison",)))
    if own.get("calibration"):
        rows.append(Row(task, "Can its confidence be believed?", describe_calibration(own["calibration"]["as_trained"])
                        .rstrip("."), ("figure-calibration", "table-calibration")))
    if explained.get("class_activation_map"):
        rows.append(Row(task, "Where the network looks", _looks(explained["class_activation_map"]),
                        ("figure-class_activation_maps*",)))
    if explained.get("randomisation"):
        verdicts = {name: list(entry["verdict"].values())[1:2] for name, entry in explained["randomisation"].items()}
        rows.append(Row(task, "Do the explanations hold?", "classifier re-initialised: " + ", ".join(
            f"{name} {verdict[0]}" for name, verdict in verdicts.items() if verdict), ("figure-randomisation",)))
    hidden = explained.get("occlusion")
    if hidden and not hidden["no_verdict"]:
        rows.append(Row(task, "Does the map point at what counts?", "confidence lost where a part is hidden: " + ", ".join(
            f"{name} {points(drop['mean'])} points" for name, drop in hidden["drop"].items()), ("figure-occlusion",)))
    if found.results["02"].get("as_it_is"):
        rows.append(Row(task, "The pretrained network as it is", _as_it_is(found.results["02"]["as_it_is"]),
                        ("figure-as_it_is", "table-as_it_is")))
    if found.results["03"].get("stages"):
        rows.append(Row(task, "What fine-tuning changed, layer by layer", _stages(found.results["03"]["stages"]),
                        ("figure-stages",)))
    return rows


def _as_it_is(pretrained: Mapping[str, Any]) -> str:
    """Which own class is most often taken for one and the same class of ImageNet, and how accurate the network is there."""
    rows, scored = pretrained["most_frequent"], pretrained["accuracy"]
    name = max(rows, key=lambda name: rows[name]["share"])
    told = (f"{percent(rows[name]['share'])} of the images of {literal(name or 'no class')} are taken for "
            f"{literal(rows[name]['imagenet_class'])}")
    return told if not scored else (f"{told}; of {scored['images']:,} images of ImageNet it classifies "
                                    f"{percent(scored['top1'])} correctly, {percent(scored['top5'])} with five guesses")


def _stages(stages: Mapping[str, Any]) -> str:
    """Where fine-tuning begins to matter to a linear probe, and where the weights moved most."""
    names, begins = stages["names"], stages["begins"]
    changes = {name: row.get("weight_change") or 0 for name, row in stages["networks"]["fine-tuned"].items()}
    most = max(names, key=changes.__getitem__)
    moved = f"the weights moved most in {most}, stage {names.index(most) + 1}" if changes[most] else "no stage has learnt"
    if "probe" in stages["missing"]:
        return f"{moved}; {stages['missing']['probe']}"
    told = "no stage from which on a linear probe is significantly better" if not begins else \
        f"a linear probe is significantly better in the last of {len(names)} stages only, {begins}" if begins == names[-1] \
        else f"a linear probe is significantly better from stage {names.index(begins) + 1} of {len(names)} on, {begins}"
    return f"{told}; {moved}"


def _search(found: Found) -> str:
    """How many trials there were, how short they were, and the highest score."""
    own, search = found.results["01"], found.results["01"]["search"]
    trials, epochs = search["trials"], search.get("epochs")
    size, images = own.get("split", {}).get("train", 0), search.get("images", 0)
    short = f" of {epochs} epoch{'s' * (epochs != 1)}" if epochs else ""
    if short and 0 < images < size:
        short += f" on {max(images, len(found.classes)):,} of {size:,} training images"
    score = format_share(search.get("score", float("nan")))
    return f"{trials} trial{'s' * (trials != 1)}{short}, best on validation {score}"


def _looks(maps: Mapping[str, Any]) -> str:
    """Where the evidence of class activation maps lies, in right and in wrong predictions."""
    hottest, same, told = maps.get("hottest_tenth", {}), maps.get("same_place", {}), []
    if hottest.get("images"):
        of = f"mean of {hottest['images']} right predictions" if hottest["images"] > 1 else "one right prediction"
        told.append(f"the hottest tenth of the image holds {percent(hottest['mean'], 0)} of the evidence ({of})")
    if same.get("errors"):
        errors = f"{same['errors']} error{'s' * (same['errors'] > 1)}"
        told.append(f"in {same['count']} of {errors} the maps of both classes share half of their hottest tenths")
    return f"{maps['method']}: {'; '.join(told)}" if told else f"{maps['method']} of right and of wrong predictions"


def ordered(rows: list[Row]) -> pd.Series:
    """The rows by task, in the order of the tasks."""
    return pd.Series(rows).groupby([row.task for row in rows], sort=False).apply(list)
