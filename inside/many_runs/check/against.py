"""What is expected of a hand-in: the numbers of another run, or those of a YAML file with their tolerances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from inside.feature_maps.spectra_tables import spectra_results
from inside.many_runs.check.files import HandIn
from inside.many_runs.check.rows import DIFFERS, EXACT, HOLDS, UNDECIDED, Row, Tolerance, compared, word
from inside.many_runs.check.scores import MAIN, remade_metrics, remade_scores
from inside.many_runs.check.shares import remade_shares
from inside.many_runs.check.spectra import Features
from inside.plain_yaml import read_yaml
from inside.text import brief

# Parameters that say where and how to compute, or where the images lie: two runs of the same settings differ in them.
ELSEWHERE = {"RUN", "DATASET", "IMAGENET_VAL", "CIFAR10", "IGNORE", "DEVICE", "PRECISION", "WORKERS", "PROCESSES",
             "INTERACTIVE", "TRACKERS", "STUDY_STORAGE", "TRAIN"}
UNTRAINED = Tolerance(1e-3, 1e-6)  # features of the same weights and images on another machine, in float32
Check = Callable[[HandIn], Iterable[Row]]


def read_reference(reference: str) -> Check:
    """The check against a YAML file of expected values, or against a run. Raises ValueError where it is neither."""
    path = Path(reference)
    if path.suffix.lower() not in (".yaml", ".yml"):
        run = HandIn.open(reference)
        return lambda hand_in: check_against_run(hand_in, run)
    if not path.is_file():
        raise ValueError(f"There is no file {reference!r}: give a run, or a YAML file of expected values.")
    expected = read_yaml(path)
    if not isinstance(expected, dict) or not expected:
        raise ValueError(f"{path} holds no expected values, such as test.mean_class_accuracy: "
                         "{value: 0.93, within: 0.02}.")
    for name, entry in expected.items():
        within = entry.get("within", 0) if isinstance(entry, dict) else 0
        if isinstance(entry, dict) and ("value" not in entry or set(entry) - {"value", "within"}) or not isinstance(
                within, (int, float)) or not within >= 0:
            raise ValueError(f"{path}: {brief(name)} takes a value, or {{value: 0.93, within: 0.02}}.")
    return lambda hand_in: check_against_values(hand_in, expected)


def check_against_values(hand_in: HandIn, expected: Mapping[str, Any]) -> Iterator[Row]:
    """A row for each expected value: recomputed where the files allow it, else as the hand-in tells it."""
    told, made = _told(hand_in), _made(hand_in)
    for name, entry in expected.items():
        value, within = (entry["value"], entry.get("within", 0)) if isinstance(entry, dict) else (entry, 0)
        found = [look_up(numbers, str(name)) for numbers in (told, made)]
        one = found[1] if found[1] is not None else found[0]
        one = None if isinstance(one, Mapping) else one
        same = Tolerance(EXACT.relative, max(EXACT.absolute, within * (1 + 1e-9))).same(one, value)
        remark = "there is no such value, or there are several" if one is None else "as told: it is not recomputed" * (
            found[1] is None)
        first, second = ("" if part is None or one is None else word(part) for part in found)
        yield Row(f"expected: {name}", UNDECIDED if one is None else HOLDS if same else DIFFERS, first, second,
                  f"{word(value)} ± {word(within)}" if within else word(value), remark)


def look_up(values: Any, name: str) -> Any:
    """The value at a dotted name in nested dictionaries whose keys may hold dots; None where there is none."""
    if not name:
        return values
    for key in values if isinstance(values, Mapping) else ():
        if name == key or name.startswith(f"{key}."):
            found = look_up(values[key], name[len(key) + 1:])
            if found is not None:
                return found
    return None


def _told(hand_in: HandIn) -> dict[str, Any]:
    """What the results tell, by notebook ("03.scenarios…") and without: for a name of several, that of the first."""
    found = {number: hand_in.results(number) for number in ("01", "02", "03") if hand_in.has(f"{number}_results.json")}
    return {**_together(found), "parameters": dict(hand_in.settings)}


def _made(hand_in: HandIn) -> dict[str, Any]:
    """What follows from the files, in the places that the results have for it; nothing of files that are not there."""
    made: dict[str, Any] = {}
    for number, remake in (("01", remade_scores), ("02", lambda own: {"scenarios": remade_shares(own)}),
                           ("03", lambda own: {"scenarios": spectra_results(Features.of(own).spectra)})):
        try:
            made[number] = remake(hand_in)
        except ValueError:  # told by the check of these files
            continue
    return _together(made)


def _together(found: Mapping[str, Any]) -> dict[str, Any]:
    return {**found.get("03", {}), **found.get("02", {}), **found.get("01", {}), **found}


def check_against_run(hand_in: HandIn, reference: HandIn) -> Iterator[Row]:
    """Parameters, split, scores within the 95% intervals of the reference, and what needs no training."""
    both = sorted(set(hand_in.settings) & set(reference.settings) - ELSEWHERE)
    given, wanted = ({name: run.settings[name] for name in both} for run in (hand_in, reference))
    yield from _as_expected(compared("expected: parameters", given, wanted))
    columns = ["path", "label", "split", "sha256"]
    same = hand_in.split.table[columns].equals(reference.split.table[columns])
    yield Row("expected: the split of the reference", HOLDS if same else DIFFERS, hand_in.split.fingerprint, "",
              reference.split.fingerprint)
    own, other = remade_metrics(hand_in)["test"].iloc[-1], remade_metrics(reference)["test"].iloc[-1]
    for key, name in (("accuracy", MAIN["mean_class_accuracy"]), ("average_precision", MAIN["mean_average_precision"])):
        low, high = other[f"{key}_low"], other[f"{key}_high"]
        yield Row(f"expected: {name}", HOLDS if low <= own[key] <= high else DIFFERS, "", word(own[key]),
                  f"{word(other[key])} ({word(low)} to {word(high)})", "in brackets: its 95% interval")
    first, second = (_untrained(run) for run in (hand_in, reference))
    given, wanted = ({name: found[name] for name in sorted(set(first) & set(second))} for found in (first, second))
    if wanted:
        yield from _as_expected(compared("expected: effective ranks of the initial network", given, wanted, UNTRAINED))


def _untrained(run: HandIn) -> dict[str, float]:
    """The effective ranks of the ImageNet-initialised network, which hang on images and weights only."""
    if not run.has("spectra.npz"):
        return {}
    return {f"{scenario}, {layer}": found.effective_rank for scenario, by_layer in Features.of(run).spectra.items()
            if scenario.startswith("imagenet_") for layer, found in by_layer.items()}


def _as_expected(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of a comparison with a reference: what is right stands under expected."""
    for row in rows:
        yield Row(row.what, row.verdict, row.told, "", row.recomputed)
