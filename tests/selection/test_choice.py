"""Tests of inside/selection/choice.py."""

import json

import pandas as pd
import pytest

from inside.cli.profiles import notebook_parameters
from inside.files import RunFolder, write_json
from inside.selection.choice import choose_settings
from inside.selection.describe import describe_search
from inside.shown import Text
from inside.training.experiment import train_into
from shared.searches import BOOK

TINY = {"ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": 32, "EPOCHS": 1, "BATCH_SIZE": 16, "PRECISION": "float32",
        "SEARCH_SPACE": {"lr": [1e-3, 0.1, "log"], "epochs": [1, 2]}, "FINAL_SEEDS": 0}


def settings(**changes):
    return notebook_parameters(BOOK) | TINY | changes


@pytest.fixture
def run(tmp_path):
    return RunFolder(str(tmp_path / "run"))


def test_without_a_search_the_settings_are_those_given(run, split):
    choice = choose_settings(run, settings(), split)
    assert choice.settings == settings() and choice.search is None and not run.path("trials.csv").exists()
    assert "no search was made" in choice.summary and choice.takeaways() == []
    text, = choice.report()
    assert "No settings were searched" in text.markdown and choice.results() == {"search": None, "noise_band": None}


@pytest.mark.parametrize("seeds", [2, pytest.param(0, marks=pytest.mark.soak)])
def test_the_best_trial_goes_on_and_the_report_tells_how_it_was_found(run, split, seeds):
    given = settings(SEARCH_TRIALS=3, FINAL_SEEDS=seeds)
    choice = choose_settings(run, given, split)
    trials = pd.read_csv(run.path("trials.csv"))
    best = trials.loc[trials["score"].idxmax()]
    assert choice.settings["LEARNING_RATE"] == pytest.approx(best["learning_rate"]) and choice.settings["EPOCHS"] == best["epochs"]
    assert {name for name in given if given[name] != choice.settings[name]} <= {"LEARNING_RATE", "EPOCHS"}
    *shown, trials_fold, options_fold = choice.report()
    names = [[getattr(part, "name", "text") for part in parts] for parts in (shown, trials_fold.parts, options_fold.parts)]
    assert names == [["search", *["text"] * (2 if seeds else 1)], ["trials", "noise_band"] if seeds else ["trials"],
                     ["search_importance", "text", "search_parallel", "text", "search_importance"]]
    assert all(len(part.caption) > 40 for part in (shown[0], *trials_fold.parts, *options_fold.parts) if not isinstance(part, Text))
    assert shown[0].caption.startswith("Best of 3 trials") and ("with new seeds" in shown[0].caption) == bool(seeds)
    assert f"trial {int(best['number'])} with" in choice.summary and choice.takeaways() == describe_search(choice.search, choice.noise)
    assert shown[-1].markdown == " ".join(choice.takeaways()) != ""
    write_json(run.path("results.json"), choice.results())
    told = json.loads(run.path("results.json").read_text())
    assert told["search"]["score"] == pytest.approx(best["score"]) and told["search"]["trials"] == 3
    assert told["noise_band"] is None if not seeds else len(told["noise_band"]) in (4, 6)


def test_without_training_they_are_those_of_the_network_that_is_there(run, split):
    trained = settings(LEARNING_RATE=0.02)
    with pytest.raises(ValueError, match="has no trained network"):
        choose_settings(run, settings(TRAIN=False), split)
    train_into(run, trained, split, features=run.path("features"))
    choice = choose_settings(run, settings(TRAIN=False, SEARCH_TRIALS=5, EPOCHS=9, IMAGE_SIZE=64), split)
    assert (choice.settings["LEARNING_RATE"], choice.settings["EPOCHS"], choice.settings["IMAGE_SIZE"]) == (0.02, 1, 32)
    assert choice.settings["WEIGHTS"] == "random" and choice.search is None
