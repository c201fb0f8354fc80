"""The first screen of the page, made from the numbers: the setting, four tiles, what follows and what does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from inside.evaluation.describe import describe_confusion
from inside.feature_maps.scenario_names import first_draws
from inside.report.found import NOT_RUN, Found
from inside.text import change_in_points, listed, literal, percent, points


@dataclass(frozen=True)
class Tile:
    """A number of the first screen; `anchors`: where its evidence may be, the first that the page has is linked."""

    title: str
    value: str
    detail: str
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A sentence, and where its evidence may be."""

    text: str
    anchors: tuple[str, ...] = ()


def describe_setting(found: Found) -> str:
    """One sentence: images, classes, split, network, what learns, pixels."""
    own = found.results["01"]
    if not own:
        scenarios = list(first_draws(found.scenarios("02") or found.scenarios("03")))
        return f"Notebook 01 has not run here, so that there is no fine-tuned network; measured: {listed(scenarios, 9)}." \
            if scenarios else "No notebook has ended here yet."
    kind, split = "drawn images" if own.get("drawn") else "images", own.get("split", {})
    told = [f"{own.get('n_images', 0):,} {kind} ({own.get('dataset')})"]
    told[0] += f" in {len(found.classes)} class{'es' * (len(found.classes) != 1)}" if found.classes else ""
    if split:
        told.append("split " + " / ".join(f"{split.get(part, 0):,}" for part in ("train", "val", "test"))
                    + " into training, validation and test")
    network = f"{own.get('architecture')}"
    if "weights" in own:
        network += f" from {_WEIGHTS.get(own['weights'], own['weights'])} weights"
    told.append(network)
    if "trainable" in own:
        whole = own["trainable"] == own["parameters"]
        told.append(("all " if whole else f"{own['trainable']:,} of ") + f"{own['parameters']:,} parameters are trained")
    if "image_size" in own:
        told.append(f"{own['image_size']}×{own['image_size']} pixels, {own['epochs']} epoch{'s' * (own['epochs'] != 1)}")
    return "; ".join(told) + "."


_WEIGHTS = {"imagenet": "ImageNet"}


def tiles(found: Found) -> list[Tile]:
    """Mean class accuracy, the most frequent confusion, and where fine-tuning moved shares and effective ranks most."""
    return [_accuracy_tile(found), _confusion_tile(found), _shares_tile(found), _ranks_tile(found)]


def mean_row(found: Found) -> dict:
    """The mean over classes on test with its interval, and `baseline`; {} where there is none."""
    table, own = found.table("metrics_test.csv"), found.results["01"]
    if table.empty or not own or pd.isna(table.iloc[-1]["accuracy"]):
        return {}
    return table.iloc[-1].to_dict() | {"baseline": own.get("baseline", {}).get("mean_class_accuracy"),
                                       "always": own.get("baseline", {}).get("class")}


def _accuracy_tile(found: Found) -> Tile:
    row, title = mean_row(found), "Mean class accuracy on test"
    if not row:
        return Tile(title, "–", NOT_RUN.format("01"))
    known = row["baseline"] is not None
    base = f"; baseline, always “{literal(row['always'])}”: {percent(row['baseline'])}" if known else ""
    return Tile(title, percent(row["accuracy"]),
                f"95% interval {percent(row['accuracy_low'])} to {percent(row['accuracy_high'])}{base}",
                ("table-metrics_test", "figure-class_metrics"))


def _confusion_tile(found: Found) -> Tile:
    title, table, anchors = "Most frequent confusion", found.predictions, ("figure-confusion",)
    if table.empty:
        return Tile(title, "–", NOT_RUN.format("01"))
    wrong = table[table["label"] != table["predicted"]]
    if wrong.empty:
        return Tile(title, "none", describe_confusion(table).rstrip("."), anchors)
    counts = wrong.groupby(["label", "predicted"]).size().sort_values(ascending=False, kind="stable")
    ties = int((counts == counts.iloc[0]).sum())
    if ties > 1:
        return Tile(title, f"{ties} pairs tied", describe_confusion(table).rstrip("."), anchors)
    label, predicted = counts.index[0]
    return Tile(title, f"{literal(label)} → {literal(predicted)}", f"{counts.iloc[0]:,} of {len(wrong):,} "
                f"error{'s' * (len(wrong) > 1)} among {len(table):,} test images", anchors)


def _shares_tile(found: Found) -> Tile:
    title, pairs = "Non-positive values, initial → fine-tuned", found.moved("02", "non_positive_share")
    anchors = ("figure-non_positive_shares", "table-non_positive_shares")
    if not pairs:
        return Tile(title, "–", found.why_not("02"))
    layer, old, new = max(pairs, key=_points)
    if not _points((layer, old, new)):
        return Tile(title, "unchanged", f"in all {len(pairs)} layers, same images", anchors)
    return Tile(title, f"{percent(old)} → {percent(new)}", f"in {layer}, {_largest_of(pairs)}", anchors)


def _points(pair: tuple[str, float, float]) -> float:
    return abs(change_in_points(*pair[1:]))


def _ranks_tile(found: Found) -> Tile:
    title, pairs = "Effective rank, initial → fine-tuned", found.moved("03", "effective_rank")
    anchors = ("figure-effective_ranks", "table-certainty", "table-spectra")
    if not pairs:
        return Tile(title, "–", found.why_not("03"))
    moved = _moved_ranks(found)
    if not moved:
        return Tile(title, "unchanged", f"in all {len(pairs)} layers, same images", anchors)
    layer, old, new = max(moved, key=_ratio)
    sure = "; the choice of images may explain it" if _beyond_images(found, layer) is False else ""
    return Tile(title, f"{old:.1f} → {new:.1f}", f"in {layer}, {_largest_of(pairs)}{sure}", anchors)


def _largest_of(pairs: Sequence[tuple[str, float, float]]) -> str:
    return f"the largest change among {len(pairs)} layers" if len(pairs) > 1 else "the only layer"


def _ratio(pair: tuple[str, float, float]) -> float:
    return abs(math.log(pair[2] / pair[1])) if pair[1] > 0 and pair[2] > 0 else 0.0


def what_follows(found: Found) -> list[Claim]:
    """What the numbers say, a sentence each with its evidence."""
    return [claim for claim in (_claim_accuracy(found), _claim_shares(found), _claim_ranks(found),
                                *_claims_explanations(found)) if claim]


def _claim_accuracy(found: Found) -> Claim | None:
    row = mean_row(found)
    if not row or row["baseline"] is None:
        return None
    base, anchors = f"always saying “{literal(row['always'])}” ({percent(row['baseline'])})", ("table-metrics_test",)
    if row["baseline"] < row["accuracy_low"]:
        return Claim(f"On images like these the network is better than {base}.", anchors)
    if row["baseline"] > row["accuracy_high"]:
        return Claim(f"On images like these the network is worse than {base}.", anchors)
    return Claim(f"On these few images the network cannot be told apart from {base}.", anchors)


def _claim_shares(found: Found) -> Claim | None:
    pairs = found.moved("02", "non_positive_share")
    if not pairs:
        return None
    most = max(pairs, key=_points)
    moved, told = _directions(pairs, 3)
    largest = f", by at most {points(_points(most) / 100)} percentage points ({most[0]})" if moved else ""
    return Claim(f"Fine-tuning {told.format('the share of non-positive values')}{largest}.", ("figure-non_positive_shares",))


def _directions(pairs: Sequence[tuple[str, float, float]], digits: int) -> tuple[bool, str]:
    """Whether a number moved in any layer, with so many digits as are shown, and in how many it rose and fell."""
    up, down = (sum(sign * round(new, digits) > sign * round(old, digits) for _, old, new in pairs) for sign in (1, -1))
    told = [f"{verb} {{}} in {count}" for verb, count in (("raised", up), ("lowered", down)) if count]
    if not told:
        return False, f"left {{}} as it was in all {len(pairs)} layers, to the digits shown"
    both = " and ".join([told[0], *(part.replace("{}", "it") for part in told[1:])])
    return True, both + f" of {len(pairs)} layers"


def _claim_ranks(found: Found) -> Claim | None:
    pairs = found.moved("03", "effective_rank")
    if not pairs:
        return None
    moved, told = _directions(pairs, 1)
    if not moved:
        return Claim(f"Fine-tuning {told.format('the effective rank')}.", ("figure-effective_ranks",))
    apart = [f"{layer} ({old:.1f} → {new:.1f})" for layer, old, new in _moved_ranks(found) if _beyond_images(found, layer)]
    return Claim(f"Fine-tuning changed the effective rank in {listed(apart)} by more than the choice of images explains.",
                 ("table-certainty",)) if apart else None


def _moved_ranks(found: Found) -> list[tuple[str, float, float]]:
    """(layer, initial, fine-tuned) of the effective ranks that differ with the one digit that is shown."""
    return [pair for pair in found.moved("03", "effective_rank") if round(pair[1], 1) != round(pair[2], 1)]


def _uncertain_ranks(found: Found) -> list[Claim]:
    """That a change of the effective rank does not follow where other images may explain it."""
    unsure = [layer for layer, _, _ in _moved_ranks(found) if _beyond_images(found, layer) is False]
    return [Claim(f"That fine-tuning changed the effective rank in {listed(unsure)}: the choice of images may explain the "
                  f"difference{'s' * (len(unsure) > 1)}.", ("table-certainty",))] if unsure else []


def _beyond_images(found: Found, layer: str) -> bool | None:
    """Whether the spread of the ratio of the fine-tuned to the initial effective rank leaves out 1; None: unknown."""
    table = found.table("tables/certainty.csv")
    if table.empty:
        return None
    rows = table[(table["layer"].str.split(" (", regex=False).str[0] == layer) & (table["scenario"] == "finetuned_own")]
    ends = rows.reindex(columns=["ratio low", "ratio high"]).dropna().to_numpy()
    return bool(ends[0][0] > 1 or ends[0][1] < 1) if len(ends) else None


def _claims_explanations(found: Found) -> list[Claim]:
    """Which explanations change with the weights, and which do not."""
    checked = (found.results["02"].get("explanations") or {}).get("randomisation") or {}
    verdicts = {name: list(entry["verdict"].values())[1] for name, entry in checked.items() if len(entry["verdict"]) > 1}
    told = [(words, [name for name, verdict in verdicts.items() if verdict == kind]) for kind, words in _VERDICTS.items()]
    return [Claim(f"When the classifier is re-initialised, the explanation{'s' * (len(names) > 1)} by {listed(names)} "
                  f"{words[len(names) > 1]}.", ("figure-randomisation",)) for words, names in told if names]


_VERDICTS = {
    "changed": ("changes: it passes this check", "change: they pass this check"),
    "not changed": ("does not change: it does not say why the network chose a class",
                    "do not change: they do not say why the network chose a class")}


def what_does_not_follow(found: Found) -> list[Claim]:
    """What the numbers do not say."""
    own, claims = found.results["01"], []
    if own.get("drawn"):
        claims.append(Claim("Nothing about photographs: all images of this run are drawn by the project."))
    if found.stand_ins():
        claims.append(Claim(f"Nothing about ImageNet or CIFAR-10 images: {listed(found.stand_ins())} stand in for them.",
                            ("table-02_scenarios", "table-03_scenarios")))
    if mean_row(found):
        claims.append(Claim("Nothing about another training: the intervals hold for other images of this kind, and for this "
                            "one network.", ("figure-search", "figure-noise_band", "figure-search_trials")))
    claims += _uncertain_ranks(found) + _perfect_classes(found)
    checked = (found.results["02"].get("explanations") or {}).get("randomisation") or {}
    open_ones = [name for name, entry in checked.items()
                 if set(list(entry["verdict"].values())[1:2]) & {"no verdict", "undecided"}]
    if open_ones:
        claims.append(Claim(f"Whether the explanation by {listed(open_ones)} depends on what was learnt: the check is "
                            "inconclusive.", ("figure-randomisation",)))
    return claims


def _perfect_classes(found: Found) -> list[Claim]:
    table = found.table("metrics_test.csv").iloc[:-1] if found.results["01"] else pd.DataFrame()
    perfect = table[table["accuracy"] == 1] if len(table) else table
    if perfect.empty:
        return []
    lowest, several = perfect.loc[perfect["accuracy_low"].idxmin()], len(perfect) > 1
    images = f"{int(lowest['support']):,} test images" + (f" of {literal(lowest['class'])}" if several else "")
    return [Claim(f"That {listed(list(perfect['class'].map(literal)))} {'are' if several else 'is'} always classified "
                  f"correctly: although all {images} were, {'its' if several else 'the'} accuracy may be as low as "
                  f"{percent(lowest['accuracy_low'])}.", ("table-metrics_test",))]
