"""What notebook 03 shows of the stages of a network: figure, sentences, tables, and the numbers for its results."""

from __future__ import annotations

from typing import Any

import pandas as pd

from inside.feature_maps.stage_measures import NETWORKS, Stages
from inside.feature_maps.stage_plots import plot_stages
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import format_number, format_share, format_significant, listed, percent, plain_text

LEVEL = 0.05  # of the test that tells where fine-tuning begins to matter


def report_stages(stages: Stages) -> list[Shown]:
    """One figure over all stages, what follows from it, and folded its numbers; one sentence where nothing was measured."""
    if stages.reason:
        return [Text(f"Not measured: {stages.reason}.")]
    claim, *more = describe_stages(stages)
    shaded = " Frozen stages are shaded." if stages.frozen else ""
    numbers = Table(stages.table, "stages", "A row per network and stage; probe: accuracy with its 95% interval; p_value: "
                    "exact paired test of the probes of fine-tuned and initial network; cka, weight_change: against the "
                    "initial network; dimension_low, dimension_high: 95% spread at this number of images.", rows=100)
    similar = pd.DataFrame(stages.cka, columns=stages.names)
    similar.insert(0, "fine-tuned", stages.names)
    return [Figure(plot_stages(stages), "stages", plain_text(_alt(stages)),
                   f"{claim} Top: accuracy of a linear probe ({stages.train:,} training images and {stages.distinct:,} "
                   "validation images, copies counted once; bars: 95% intervals; dotted: always the most frequent class), "
                   "relative change of the weights, debiased linear CKA of fine-tuned and initial stages. Bottom: effective "
                   "rank, share of values ≤ 0, intrinsic dimension with its 95% spread at this number of images."
                   f"{shaded}"),
            *([Text(" ".join(more))] if more else []),
            Fold("All numbers of the stages", (numbers, Table(
                similar, "stage_cka", "Debiased linear CKA: fine-tuned stages down, initial ones across.", digits=2,
                rows=100)))]


def describe_stages(stages: Stages) -> list[str]:
    """Sentences: where fine-tuning begins to matter and where the weights moved; how alike features are; what is missing."""
    if stages.reason:
        return [f"The stages of the network are not measured: {stages.reason}."]
    if len(stages.frozen) == len(stages.names):
        told = [f"All {len(stages.names)} stages were frozen during fine-tuning, and therefore unchanged by construction: "
                "only what follows them has learnt."]
    else:
        told = [f"{_describe_beginning(stages)} {_describe_weights(stages)}", _describe_similarity(stages)]
    start = {"random": "The training began with random weights: the initial network is this draw, “random” another one."}
    return [line for line in (*told, start.get(stages.start, ""), _missing(stages)) if line]


def where_it_begins(stages: Stages) -> str | None:
    """The first stage from which on a probe is more accurate on the fine-tuned network than on the initial one; None: none.

    Stages are tested one after the other, from the last one back, until one shows no difference at the level of 5%: as a
    fixed sequence of tests, that makes the chance of naming any stage in which there is none 5% in all.
    """
    if stages.no_probe or not stages.names:
        return None
    tuned, initial, found = stages.of("fine-tuned"), stages.of("initial"), None
    for stage in reversed(stages.names):
        if not (tuned.loc[stage, "p_value"] < LEVEL and tuned.loc[stage, "probe"] > initial.loc[stage, "probe"]):
            break
        found = stage
    return found


def _describe_beginning(stages: Stages) -> str:
    """Where fine-tuning begins to matter to a linear probe."""
    if stages.no_probe:
        return "Where fine-tuning begins to matter was not measured."
    first, last, n = where_it_begins(stages), stages.names[-1], len(stages.names)
    tuned, initial = (float(stages.of(name).loc[last, "probe"]) for name in NETWORKS[:2])
    against = f"{percent(tuned)} against {percent(initial)} on the initial network"
    if first is None:
        worse = "is better, though by no more than chance explains" if tuned > initial else "is no better"
        return (f"Where fine-tuning begins to matter cannot be told: even in the last stage, **{last}**, a linear probe "
                f"{worse} ({against}).")
    if first == last:
        return (f"A linear probe is significantly better after fine-tuning in the last of {n} stages only, **{last}** "
                f"({against}).")
    return (f"From **{first}** on, stage {stages.names.index(first) + 1} of {n}, a linear probe is significantly better "
            f"after fine-tuning in every stage (in the last one {against}).")


def _describe_weights(stages: Stages) -> str:
    """Where the weights moved most, and how that place lies to the one where fine-tuning begins to matter."""
    changes, names = stages.of("fine-tuned")["weight_change"].dropna(), stages.names
    if changes.empty or not changes.max():
        return "The weights of the stages did not move."
    most, first = str(changes.idxmax()), where_it_begins(stages)
    moved = f"The weights moved most in **{most}**, stage {names.index(most) + 1} (by " \
            f"{format_significant(100 * changes[most], 2)}% of their norm)"
    if first is None:
        return f"{moved}."
    steps = names.index(most) - names.index(first)
    return f"{moved}, " + ("the same stage." if not steps else f"{abs(steps)} stage{'s' * (abs(steps) > 1)} "
                           f"{'after' if steps > 0 else 'before'} that.")


def _describe_similarity(stages: Stages) -> str:
    """In which stage the features of fine-tuned and initial network are least alike."""
    cka = stages.of("fine-tuned").loc[[name for name in stages.names if name not in stages.frozen], "cka"].dropna()
    if cka.empty:
        return ""
    return (f"The features of the fine-tuned and the initial network are least alike in **{cka.idxmin()}** (CKA "
            f"{format_share(cka.min(), 2)}).")


def _missing(stages: Stages) -> str:
    """What was not measured, and why."""
    reasons = list(filter(None, (stages.no_probe, stages.no_dimension)))
    return f"Not measured: {listed(reasons)}." if reasons else ""


def _alt(stages: Stages) -> str:
    """The first and last value of each line, for readers who do not see the figure."""
    words = {"probe": "accuracy of a linear probe", "effective_rank": "effective rank",
             "non_positive_share": "share of values ≤ 0", "intrinsic_dimension": "intrinsic dimension"}
    told = []
    for column, name in words.items():
        ends = [(network, stages.of(network)[column].iloc[[0, -1]]) for network in NETWORKS if column in stages.table]
        told += [f"{name}: " + ", ".join(f"{network} {format_number(low, 2)} to {format_number(high, 2)}"
                                         for network, (low, high) in ends)] if ends else []
    return (f"Six panels over {len(stages.names)} stages from {stages.names[0]} to {stages.names[-1]}. From the first to "
            f"the last: {'; '.join(told)}. {' '.join(describe_stages(stages))}")


def stage_results(stages: Stages) -> dict[str, Any]:
    """{stages, stages_reason} for 03_results.json; stages is None where nothing was measured, and the reason says why."""
    if stages.reason:
        return {"stages": None, "stages_reason": stages.reason}
    columns = [name for name in stages.table if name not in ("network", "stage", "frozen")]
    networks = {name: {stage: {column: row[column] for column in columns if pd.notna(row[column])}
                       for stage, row in stages.of(name).iterrows()} for name in NETWORKS}
    images = {"train": stages.train, "val": stages.val, "val_distinct": stages.distinct}
    missing = {"probe": stages.no_probe, "intrinsic_dimension": stages.no_dimension}
    return {"stages": {"names": stages.names, "frozen": stages.frozen, "images": images, "image_size": stages.image_size,
                       "start": stages.start, "majority": stages.majority, "begins": where_it_begins(stages),
                       "networks": networks, "cka": stages.cka,
                       "missing": {name: reason for name, reason in missing.items() if reason}}, "stages_reason": None}
