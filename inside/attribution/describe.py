"""Sentences on the checks of attributions, made from their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from inside.attribution.occlusion import OCCLUSIONS
from inside.attribution.randomisation import UNRELATED, Randomisation, interval_over_draws
from inside.evaluation.intervals import mean_interval
from inside.text import format_number, format_share, listed, percent, plain_text, round_share

FEWEST = 10  # images that a verdict takes
ENOUGH = 60  # images of which an interval of drops covers 93% and more: see benchmarks/coverage.py


def summarise_randomisation(found: Randomisation) -> pd.DataFrame:
    """The one statistic of the check, the mean absolute rank correlation |ρ|, one row per method and step.

    Columns method, step, down_to; images and draws that it is of; |ρ| with its 95% interval (`interval_over_draws`) low,
    high; `chance`, the mean |ρ| of unrelated maps of that size and smoothness (`chance_correlations`); `threshold`, halfway
    from chance to 1; `verdict`: "changed" where the whole interval lies below the threshold, "not changed" where it lies
    above, else "undecided"; "no verdict" of fewer than FEWEST images. Numbers are rounded first (|ρ| to 3 digits, the others
    to 2), so that a verdict is that of the numbers shown. A map with its sign turned has not changed, hence the absolute
    value.
    """
    rows = []
    for (method, step, down_to), group in found.table.groupby(["method", "step", "down_to"], sort=False):
        mean, low, high, draws = interval_over_draws(group["correlation"].abs(), group["draw"])
        low, mean, high = (round_share(min(max(value, 0.0), 1.0)) for value in (low, mean, high))
        chance = round(control_mean(found, str(method), UNRELATED), 2)
        threshold, images = round((1 + chance) / 2, 2), int(group["correlation"].notna().sum())
        verdict = "no verdict" if images < FEWEST or math.isnan(threshold) else "changed" if high < threshold else \
            "not changed" if low > threshold else "undecided"
        rows.append((method, step, down_to, images, draws, mean, low, high, chance, threshold, verdict))
    return pd.DataFrame(rows, columns=["method", "step", "down_to", "images", "draws", "|ρ|", "low", "high", "chance",
                                       "threshold", "verdict"])


def control_mean(found: Randomisation, method: str, control: str) -> float:
    """Mean |ρ| of a method's maps with a control of `parameter_randomisation_test`; NaN where there is none."""
    rows = found.controls[(found.controls["method"] == method) & (found.controls["control"] == control)]
    return float(rows["correlation"].abs().mean())


def randomisation_baselines(found: Randomisation) -> pd.DataFrame:
    """Mean |ρ| of the trained network's maps with each control, one row per method; NaN where no map can be ranked."""
    controls = list(dict.fromkeys(found.controls["control"]))
    return pd.DataFrame([{"method": method} | {control: control_mean(found, method, control) for control in controls}
                         for method in dict.fromkeys(found.table["method"])])


def describe_randomisation(found: Randomisation) -> list[str]:
    """A sentence or two a method: whether, and from which step on, its maps change as weights are re-initialised."""
    return [_describe_method(found, method, rows) for method, rows in
            summarise_randomisation(found).query("step > 0").groupby("method", sort=False)]


def _describe_method(found: Randomisation, method: str, steps: pd.DataFrame) -> str:
    """The verdict on a method, from its rows of `summarise_randomisation`, that of "nothing" left out."""
    reason = no_verdict(found, method, steps)
    if reason:
        return f"**{method}**: no verdict, since {reason}."
    head = steps.iloc[0]
    numbers = (f"{format_rho_interval(head)}, {_AGAINST[head['verdict']]} the threshold of {head['threshold']:.2f}; chance "
               f"{head['chance']:.2f}")
    told = {"changed": f"The explanation by **{method}** changes as soon as the classifier is re-initialised ({numbers}): "
                       "it depends on the weights of the classifier, as what explains a class must.",
            "not changed": f"The explanation by **{method} does not change** when the classifier is re-initialised "
                           f"({numbers}): it does not say why the network chose this class.",
            "undecided": f"Whether the explanation by **{method}** changes when the classifier is re-initialised is "
                         f"undecided ({numbers})."}
    note = [] if steps["draws"].min() > 1 else ["The weights were drawn once: the intervals leave out how draws differ."]
    return " ".join([told[head["verdict"]], *_describe_further(found, method, steps), *note])


_AGAINST = {"changed": "below", "not changed": "above", "undecided": "around"}


def no_verdict(found: Randomisation, method: str, steps: pd.DataFrame) -> str | None:
    """Why there is no verdict on a method, from its rows of `summarise_randomisation`; None where there is one."""
    if not (steps["verdict"] == "no verdict").any():
        return None
    return (f"only {steps['images'].min()} of {found.table.query('method == @method')['image'].nunique()} images have maps "
            f"that can be ranked at every step; it takes {FEWEST}")


def format_rho_interval(row: pd.Series) -> str:
    """|ρ| of a row of `summarise_randomisation` with its interval."""
    return f"|ρ| {format_share(row['|ρ|'])}, {format_share(row['low'])} to {format_share(row['high'])}"


def _describe_further(found: Randomisation, method: str, steps: pd.DataFrame) -> list[str]:
    """What the steps after the classifier add: from where on the maps change for good, or what all weights give."""
    verdicts, whole = steps["verdict"].tolist(), steps.iloc[-1]
    if len(steps) < 2:
        return []
    numbers = f"{format_rho_interval(whole)}, {_AGAINST[whole['verdict']]} the threshold"
    if whole["verdict"] == "undecided":
        return [f"With all weights re-initialised it is undecided{', either' * (verdicts[0] == 'undecided')} ({numbers})."]
    if whole["verdict"] == "not changed":
        another = round_share(control_mean(found, method, "another image"))
        shows = "maps of different images are as alike: it shows where things usually are" if another >= whole["low"] else \
            "more than maps of different images are alike: it shows the image, not what the network has learnt"
        return [f"With all weights re-initialised it does not change{' either' * (verdicts[0] == 'not changed')} ({numbers}"
                f"; the map of another image: {format_share(another)}), {shows}."]
    first = max((index for index, verdict in enumerate(verdicts) if verdict != "changed"), default=-1) + 1
    if first == 0:
        return [f"It also changes at every further step (all weights: {numbers})."]
    return [f"Once the weights down to {steps['down_to'].iloc[first]} are re-initialised, it changes at every step (all "
            f"weights: {numbers})."]


def describe_verdicts(found: Randomisation) -> str:
    """One sentence: which methods change when the classifier is re-initialised, which do not, and which are undecided."""
    steps = summarise_randomisation(found).query("step == 1")
    ends = {"changed": ("changes", "change"), "not changed": ("does not change", "do not change"),
            "undecided": ("is undecided", "are undecided"), "no verdict": ("has no verdict", "have no verdict")}
    told = [f"{listed(list(rows['method']))} {words[len(rows) > 1]}" for verdict, words in ends.items()
            if len(rows := steps[steps["verdict"] == verdict])]
    return f"When the classifier is re-initialised, {'; '.join(told)}."


def describe_randomisation_figure(found: Randomisation) -> str:
    """The figure of `plot_randomisation` in words: every mean |ρ| with its chance and its threshold."""
    told = "; ".join(f"{method} {', '.join(format_share(value, 2) for value in rows['|ρ|'])} "
                     f"(chance {rows['chance'].iloc[0]:.2f}, threshold {rows['threshold'].iloc[0]:.2f})"
                     for method, rows in summarise_randomisation(found).groupby("method", sort=False))
    return f"Mean |ρ| with the trained network's map by how far down weights are re-initialised, none to all: {told}."


def describe_occlusion(table: pd.DataFrame) -> list[str]:
    """The mean drops of an occlusion check with intervals, in points, and what the paired differences show.

    Numbers are rounded first, so that a verdict is that of the numbers shown.
    """
    measured = table.dropna()
    if len(measured) < FEWEST:
        return [f"No verdict: only {len(measured)} of {len(table)} images have a map that points somewhere, and another "
                f"image to compare with; it takes {FEWEST}."]
    drops = {name: _points(measured[name]) for name in OCCLUSIONS}
    words = {name: _told(*drop) for name, drop in drops.items()}
    costs = (f"Hiding the **{OCCLUSIONS[0]}** costs {words[OCCLUSIONS[0]]} of confidence, a {OCCLUSIONS[1]} of the same "
             f"shape {words[OCCLUSIONS[1]]}, the {OCCLUSIONS[2]} {words[OCCLUSIONS[2]]}: means over {len(measured)} images.")
    found = []
    for name in OCCLUSIONS[1:]:
        difference = measured[OCCLUSIONS[0]] - measured[name]
        mean, low, high = _points(difference)
        verdict = "no difference is shown that speaks for or against the map"
        if low > 0:
            verdict = "on average, the map points at what the score depends on" if drops[OCCLUSIONS[0]][1] > 0 else \
                "it costs more than there, but that hiding it costs any confidence is not shown"
        elif high < 0:
            verdict = "on average, the map points away from what the score depends on"
        above = f"; above 0 in {percent((difference > 0).mean(), 0)} of them"
        found.append((f"to the {name} is {_told(mean, low, high, above)}", verdict))
    (first, one), (second, other) = found
    told = f"{first} and that {second}: {one}." if one == other else f"{first}: {one}; that {second}: {other}."
    lines = [costs, f"Over the images, the difference {told}"]
    if len(measured) < ENOUGH:
        lines.append(f"Of fewer than {ENOUGH} images these 95% intervals are too narrow where few images drop much and "
                     f"most little: of 20 images they hold the mean in about 90 of 100 samples, of {FEWEST} in about 80.")
    return lines


def _points(values: pd.Series) -> tuple[float, float, float]:
    """Mean of drops of confidence and the ends of its interval, in points, to one digit."""
    mean, low, high = (round(100 * value, 1) + 0.0 for value in mean_interval(values, bounds=(-1, 1)))
    return mean, low, high


def _told(mean: float, low: float, high: float, more: str = "") -> str:
    return f"{format_number(mean, 1)} points ({format_number(low, 1)} to {format_number(high, 1)}{more})"


def describe_occlusion_figure(table: pd.DataFrame) -> str:
    """The figure of `plot_occlusion` in words."""
    told = plain_text(" ".join(describe_occlusion(table)[:2]))
    return ("Left, one image whole and with a tenth hidden in three ways, with its confidence; right, how much more hiding "
            f"the hottest tenth costs than hiding each of the others, for {len(table.dropna())} images. {told}")


def attribution_results(cam: Mapping | None, checked: Randomisation | None, occluded: pd.DataFrame | None) -> dict:
    """What JSON can hold of the explanations, `cam` as it is; None where something was left out."""
    found: dict[str, Any] = {"class_activation_map": cam, "randomisation": None, "occlusion": None}
    if checked is not None:
        baselines = randomisation_baselines(checked).set_index("method").T.to_dict()
        found["randomisation"] = {method: _method_results(checked, method, rows) | {"baselines": baselines[method]}
                                  for method, rows in summarise_randomisation(checked).groupby("method", sort=False)}
    if occluded is not None:
        measured = occluded.dropna()
        drops = {name: dict(zip(("mean", "low", "high"), mean_interval(measured[name], bounds=(-1, 1)), strict=True))
                 for name in OCCLUSIONS}
        found["occlusion"] = {"images": len(measured), "drop": drops,
                              "no_verdict": describe_occlusion(occluded)[0] if len(measured) < FEWEST else None}
    return found


def _method_results(found: Randomisation, method: str, rows: pd.DataFrame) -> dict:
    """What JSON can hold of one method: {step: mean |ρ|}, {step: its interval}, …, from `summarise_randomisation`."""
    by_step = rows.set_index("down_to")
    return {"images": int(found.table.query("method == @method")["image"].nunique()), "draws": int(rows["draws"].max()),
            "chance": rows["chance"].iloc[0], "threshold": rows["threshold"].iloc[0], "down_to": by_step["|ρ|"].to_dict(),
            "interval": {name: [row["low"], row["high"]] for name, row in by_step.iterrows()},
            "verdict": by_step["verdict"].to_dict(), "no_verdict": no_verdict(found, method, rows)}
