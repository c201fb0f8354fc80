"""The computed sentences of the notebooks, made again from the files of a hand-in."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd
from bs4 import BeautifulSoup

from inside.data.split import describe_split
from inside.data.table import duplicate_table
from inside.evaluation.calibration import class_names
from inside.evaluation.calibration_sentences import (
    describe_calibration,
    describe_coverage,
    describe_promise,
    describe_temperature,
)
from inside.evaluation.describe import (
    describe_confidence,
    describe_confused_pair,
    describe_confusion,
    describe_errors,
    describe_evaluation,
    describe_lowest,
    describe_most_confused,
    describe_ranges,
    describe_ranked,
    describe_scores,
)
from inside.evaluation.metrics import most_confused
from inside.feature_maps.blur_sentences import describe_beyond_blur, describe_blur
from inside.feature_maps.scenario_names import main_scenarios
from inside.feature_maps.share_sentences import describe_dead, describe_share_claims, describe_share_figure, describe_shares
from inside.feature_maps.shares import SHARE_COLUMNS
from inside.feature_maps.spectra_sentences import (
    describe_by_layer,
    describe_halves,
    describe_held_out,
    describe_k,
    describe_leading,
    describe_rank_claims,
    describe_scatter,
    describe_similarity_claims,
    describe_spectra,
)
from inside.many_runs.check.files import HandIn, own_notebook
from inside.many_runs.check.rows import DIFFERS, HOLDS, OTHER_VERSION, Row, number_of
from inside.many_runs.check.scores import remade_calibration, remade_metrics, remade_scores
from inside.many_runs.check.shares import frozen_names
from inside.many_runs.check.spectra import Features
from inside.many_runs.check.split import given_parts
from inside.render import markdown_html
from inside.text import ISOLATE


def check_sentences(hand_in: HandIn, number: str) -> Iterator[Row]:
    """Whether a notebook shows each sentence that its numbers give, as often as it should; others are not examined."""
    name, page = own_notebook(number).name, hand_in.shown(number)
    blocks = [block.get_text() for block in page(["p", "li", "figcaption"])]
    blocks += [str(image.get("alt", "")) for image in page("img")]
    shown = "\n".join(map(_letters, blocks))
    sentences = [_words(sentence) for sentence in REMADE[number](hand_in) if sentence]
    wrong = [sentence for sentence, times in Counter(sentences).items() if shown.count(_letters(sentence)) < times]
    if not wrong:
        yield Row(f"{name}: sentences made again", HOLDS, number_of(len(sentences), "sentence"), "the same")
    same_release = hand_in.of_this_release(number)
    for sentence in wrong[:5]:
        nearest = difflib.get_close_matches(sentence, blocks, n=1, cutoff=0.6) or ["not there"]
        yield Row(f"{name}: a sentence", DIFFERS if same_release else OTHER_VERSION,
                  " ".join(nearest[0].split())[:300], sentence[:300])


def _words(markdown: str) -> str:
    return " ".join(BeautifulSoup(markdown_html(markdown), "html.parser").get_text().split())


def _letters(text: str) -> str:
    """Text without spaces and the marks around names, which stand otherwise in alternative texts."""
    return "".join(text.translate(dict.fromkeys(map(ord, ISOLATE))).split())


def _of_scores(hand_in: HandIn) -> list[str]:
    """Sentences of notebook 01."""
    settings, told, split = hand_in.settings, hand_in.results("01"), hand_in.split
    test, metrics, made = hand_in.predictions("test"), remade_metrics(hand_in), remade_scores(hand_in)
    found, pairs, (rows, columns) = remade_calibration(hand_in), most_confused(test), settings["SAMPLE_GRID"]
    conflicts = duplicate_table(split.table).query("conflicting")["group"].nunique()
    names = settings["RANKED_CLASSES"] or class_names(test)[:3]
    drawn = split.table.assign(given=given_parts(split.table["path"]))
    return [describe_errors(metrics["val"], "validation"), describe_errors(metrics["test"], "test"),
            describe_ranges(metrics["test"]), describe_scores(made["test"], made["baseline"]), describe_confusion(test),
            describe_confused_pair(test), describe_most_confused(pairs, test) if len(pairs) else "",
            describe_calibration(found.measures.iloc[0]), describe_coverage(found.coverage), describe_promise(found),
            describe_temperature(found), *(describe_ranked(test, name) for name in names),
            *(describe_lowest(test, name) for name in names),
            describe_confidence(test.sample(min(rows * columns, len(test)), random_state=settings["SEED"])),
            *describe_evaluation(metrics, made["baseline"], conflicts=conflicts, bad=len(hand_in.csv("bad_images.csv")),
                                 drawn=bool(told.get("drawn"))),
            *([] if settings.get("IGNORE") else describe_split(drawn, settings["SPLIT"]))]


def _of_shares(hand_in: HandIn) -> list[str]:
    """Sentences of notebook 02 on shares; dead channels are taken from its results, since counts do not tell them."""
    shares, scenarios = hand_in.csv("feature_maps.csv", columns=SHARE_COLUMNS), hand_in.results("02")["scenarios"]
    frozen, described = frozen_names(hand_in), hand_in.json("model.json") if hand_in.has("model.json") else {}
    pretrained = described.get("settings", {}).get("WEIGHTS", "imagenet") == "imagenet"
    entries = [scenarios[row.scenario][row.layer] for row in shares.itertuples()]
    shares = shares.assign(dead_channels=pd.array([entry.get("dead_channels") for entry in entries], dtype="Int64"),
                           activation=[entry.get("activation", "") for entry in entries],
                           reason=[entry.get("dead_channels_reason", "") for entry in entries])
    dead = describe_dead(shares) if (shares["draw"] > 1).any() else ""  # of further draws, the results do not tell them
    found = [*describe_share_claims(shares, frozen, pretrained=pretrained), describe_share_figure(shares, frozen),
             *describe_shares(shares, frozen, pretrained=pretrained)]
    return [sentence for sentence in found if sentence != dead]


def _of_spectra(hand_in: HandIn) -> list[str]:
    """Sentences of notebook 03 on spectra."""
    found = Features.of(hand_in)
    table, certainty, main, frozen = found.table, found.certainty.table, main_scenarios(found.spectra), found.frozen
    drawn = table[~table["scenario"].str.endswith("_32px")]
    rows, missing = table[table["scenario"].isin(main)], hand_in.results("03").get("missing") or {}
    return [*describe_rank_claims(drawn, certainty, frozen), *describe_leading(main), *describe_k(rows),
            describe_by_layer(drawn, "effective rank", frozen=frozen), describe_halves(certainty),
            describe_held_out(certainty), describe_scatter(certainty),
            *(describe_similarity_claims(found.compared, frozen) if len(found.compared) else ()), *describe_blur(table),
            *describe_beyond_blur(table),
            *describe_spectra(table, certainty, found.compared, frozen=frozen, missing=missing)]


REMADE: Mapping[str, Callable[[HandIn], Sequence[str]]] = {"01": _of_scores, "02": _of_shares, "03": _of_spectra}
