"""Tests of inside/selection/search.py."""

import dataclasses
import math

import optuna
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import settings as budget
from hypothesis import strategies as some
from optuna.distributions import FloatDistribution

from inside.data.split import Split
from inside.selection import search as search_module
from inside.selection.describe import describe_base, describe_noise, describe_trials
from inside.selection.search import Search, noise_band, run_search, same_settings, stratified_subset, trial_name
from inside.training.compatible import check_network
from inside.training.experiment import Experiment, train
from inside.training.loop import Trainer
from shared.searches import SEARCHED, settings


@pytest.fixture(scope="module")
def found(split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    chosen = settings(SEARCHED, SEARCH_TRIALS=9, SEARCH_EPOCHS=2, SEARCH_IMAGES=36)
    return run_search(chosen, split, folder=folder), folder, chosen


def test_a_search_on_images(found, split, capsys):
    search, folder, chosen = found
    trials = search.trials
    assert list(trials) == ["number", "state", "score", "seconds", "learning_rate", "augmentation", "strategy", "architecture", "dropout", "filters"]
    assert len(trials) == 9 and set(trials["state"]) <= {"COMPLETE", "PRUNED", "FAIL"}
    assert trials.loc[0, ["learning_rate", "augmentation", "strategy", "architecture"]].tolist() == [0.001, "light", "full", "timm/test_resnet"]
    assert search.ranked[0].value == trials.loc[trials["state"] == "COMPLETE", "score"].max()
    best = search.settings_of(search.ranked[0])
    assert best["EPOCHS"] == 2 and best["LEARNING_RATE"] == search.ranked[0].params["learning_rate"]
    check_network(best)
    again = search_module.run_search(chosen, split, folder=folder)
    pd.testing.assert_frame_equal(again.trials, trials)
    assert "trial" not in capsys.readouterr().out  # nothing was run again


def test_a_trial_is_pruned_before_its_last_epoch_only(split, tmp_path, monkeypatch):
    """One that has been trained to its end costs no more if its score counts."""
    monkeypatch.setattr("optuna.trial.Trial.should_prune", lambda trial: True)
    few = settings(SEARCH_TRIALS=2, SEARCH_IMAGES=24)
    assert run_search(few | {"SEARCH_EPOCHS": 1}, split, folder=tmp_path / "one").trials["state"].tolist() == ["COMPLETE"] * 2
    assert run_search(few | {"SEARCH_EPOCHS": 2}, split, folder=tmp_path / "two").trials["state"].tolist() == ["PRUNED"] * 2


def test_a_trial_whose_loss_is_no_number_fails_and_the_search_goes_on(split, tmp_path, monkeypatch, capsys):
    """Its learning rate is the reason that is told; the best of the others is trained. Where all fail the search says why."""
    gradients = Trainer.loss_and_gradients

    def explodes(self, images, targets):
        logits, loss = gradients(self, images, targets)
        return logits, math.nan if self.recipe.learning_rate > 1 and self.history else loss
    monkeypatch.setattr(Trainer, "loss_and_gradients", explodes)
    chosen = settings({"lr": [0.01, 3.0, 0.02]}, SEARCH_SAMPLER="grid", SEARCH_TRIALS=3, SEARCH_IMAGES=24, LEARNING_RATE=0.01,
                      STRATEGY="head", AUGMENTATION="none")
    search = run_search(chosen, split, folder=tmp_path)
    assert search.trials["state"].tolist() == ["COMPLETE", "FAIL", "COMPLETE"] and search.ranked[0].params["learning_rate"] < 1
    told = "The loss is nan in epoch 2: lower LEARNING_RATE (now 3)."
    assert search.study.trials[1].user_attrs["reason"] == told and f"failed: {told}" in capsys.readouterr().out
    assert describe_trials(search).endswith(f"Trial 1 failed: {told}")
    failed = run_search(chosen | {"SEARCH_SPACE": {"lr": [2.0, 3.0, 4.0]}, "LEARNING_RATE": 3.0}, split, folder=tmp_path)
    with pytest.raises(ValueError, match="^No trial of the search came to an end: The loss is nan in epoch 2: lower LEARNING_RATE"):
        assert failed.ranked


def test_another_split_is_another_study(found, split):
    search, folder, chosen = found
    other = dataclasses.replace(split, table=split.table.drop(index=split.table.index[split.table["split"] == "val"][0]))
    again = search_module.run_search(chosen | {"SEARCH_TRIALS": 1, "SEARCH_EPOCHS": 1}, other, folder=folder)
    assert len(again.trials) == 1 and again.study.study_name != search.study.study_name


def searched(split, chosen):
    """The images of a trial with 36 for training."""
    train = stratified_subset(split.parts["train"], 36, seed=chosen["SEED"])
    return Split(pd.concat([train, split.parts["val"]]), split.root, split.classes)


def test_a_score_is_that_of_the_same_training(found, split):
    """The best trial, trained again outside of the search, reaches the score that it has in the study."""
    search, folder, chosen = found
    best = search.ranked[0]
    part = searched(split, chosen)
    trained = train(Experiment(search.settings_of(best) | {"EPOCHS": 2}, part), folder / "own")
    assert trained.history["val_mean_class_accuracy"].max() == pytest.approx(best.value)


@pytest.mark.parametrize("number, n, name", [
    (0, 8, "trial 0, the first of 8"), (1, 8, "trial 1, the 2nd of 8"), (2, 3, "trial 2, the 3rd of 3"), (3, 4, "trial 3, the 4th of 4"),
    (10, 30, "trial 10, the 11th of 30"), (20, 30, "trial 20, the 21st of 30"), (111, 200, "trial 111, the 112th of 200"),
    (0, 1, "trial 0, the only one")])
def test_a_trial_says_its_place(number, n, name):
    assert trial_name(number, n) == name


def test_noise_band(found, split):
    search, folder, chosen = found
    band = noise_band(search, split, folder=folder)
    names = ["best", "runner-up", *([] if search.base in search.ranked[:2] else ["as they stand"])]
    assert band["setting"].tolist() == [name for name in names for _ in range(2)] and band["seed"].tolist() == [1, 2] * len(names)
    trials = [*search.ranked[:2], search.base][:len(names)]
    assert band.groupby("setting", sort=False)["trial_score"].first().tolist() == [trial.value for trial in trials]
    assert band["trial"].tolist() == [trial.number for trial in trials for _ in range(2)]
    assert search.ranked[0].params != search.ranked[1].params
    pd.testing.assert_frame_equal(band, noise_band(search, split, folder=folder))
    assert "With 2 new seeds" in describe_noise(band)


def test_the_seed_of_a_noise_band_is_that_of_its_training(found, split):
    """Each score of the band is what a training of its own with this seed gives; and the seeds do not all give the same."""
    search, folder, chosen = found
    band = noise_band(search, split, folder=folder)
    part = searched(split, chosen)
    own = []
    for row in band[band["seed"] == 2].to_dict("records"):
        tried = search.settings_of(search.candidates[row["setting"]]) | {"SEED": row["seed"], "EPOCHS": 2}
        own.append(train(Experiment(tried, part), folder / "own").history["val_mean_class_accuracy"].max())
    assert band.loc[band["seed"] == 2, "score"].tolist() == pytest.approx(own)
    assert (band.groupby("setting")["score"].nunique() > 1).any()


@pytest.fixture
def quick(monkeypatch):
    """Trainings that take no time: the score follows from the settings. The settings of each are in the list that it gives."""
    trained = []

    def train(settings, folder, *, after_epoch):
        trained.append(settings)
        score = 0.5 + 0.1 * (settings["AUGMENTATION"] == "light") - 0.05 * abs(math.log10(settings["LEARNING_RATE"] / 0.02))
        after_epoch({"epoch": 1, "val_mean_class_accuracy": score + 0.001 * settings["SEED"]})
    monkeypatch.setattr("inside.selection.search.Experiment", lambda settings, *arguments: settings)
    monkeypatch.setattr("inside.selection.search.train", train)
    return trained


@pytest.mark.parametrize("space, changes, number", [
    ({"lr": [1e-4, 1e-2, "log"], "augment": ["none", "light"]}, {}, 0),
    ({"lr": [1e-4, 1e-2, "log"]}, {"LEARNING_RATE": 0.05}, None),  # outside of the range
    ({"augment": ["none", "strong"]}, {}, None),  # not among the choices
    ({"warmup": [0, 0.2, "choice"]}, {"WARMUP": 0.0}, 0),  # 0 is 0.0
    ({"class_weights": [False, True]}, {"CLASS_WEIGHTS": False}, 0),
    ({"batch_size": [8, 64]}, {"BATCH_SIZE": 16}, 0), ({"weight_decay": [0, 1]}, {"WEIGHT_DECAY": 0.3}, None),  # whole numbers only
    ({"lr": [1e-4, 1e-2, "log"], "augment": ["none", "light"]}, {"SEARCH_SAMPLER": "grid"}, 3),
    ({"lr": [1e-3, 1e-2, 2e-2], "augment": ["light", "none"]}, {"SEARCH_SAMPLER": "grid"}, 0),
    ({"lr": [2e-3, 1e-2, "log"]}, {"SEARCH_SAMPLER": "grid"}, None),
    ({"architecture": ["convnet5", "mlp"], "dropout": [0.0, 0.5]}, {}, None),
    ({"dropout": [0.0, 0.5]}, {}, 0), ({"dropout": [0.1, 0.5]}, {}, None), ({"dropout": [0.1, 0.5]}, {"ARCHITECTURE_OPTIONS": {"dropout": 0.2}}, 0),
])
def test_the_settings_as_they_stand_are_always_scored(space, changes, number, quick, split, tmp_path):
    """By the trial that has them, or once apart; either way with these settings and the budget of a trial."""
    chosen = settings(space, SEARCH_TRIALS=6, SEARCH_EPOCHS=1, SEARCH_IMAGES=12) | changes
    search = search_module.run_search(chosen, split, folder=tmp_path)
    assert (search.base is search.apart) == (number is None) and search.base.number == (number or 0)
    own = [tried for tried in quick if same_settings(tried | {"EPOCHS": chosen["EPOCHS"]}, chosen)]
    assert own and own[0]["EPOCHS"] == 1 and len(quick) == len(search.trials) + (number is None)
    assert search.base.value == pytest.approx(
        0.5 + 0.1 * (chosen["AUGMENTATION"] == "light") - 0.05 * abs(math.log10(chosen["LEARNING_RATE"] / 0.02)))
    told = describe_base(search)
    assert ("trained separately" if number is None else f"trial {number})") in told and f"{search.base.value:.3f}" in told
    assert search_module.run_search(chosen, split, folder=tmp_path).base.value == search.base.value
    assert len(quick) == len(search.trials) + (number is None)  # nothing was trained again


def test_a_study_that_goes_on_from_other_settings_knows_which_stand(quick, split, tmp_path):
    """The value of an option in the space does not name the study: trial 0 then has the value of an earlier call."""
    chosen = settings(SEARCH_TRIALS=3, SEARCH_IMAGES=12)
    first = run_search(chosen, split, folder=tmp_path)
    again = run_search(chosen | {"LEARNING_RATE": 0.004}, split, folder=tmp_path)
    assert again.trials.equals(first.trials) and first.base.number == 0 and first.apart is None
    assert again.base is again.apart and quick[-1]["LEARNING_RATE"] == 0.004


@pytest.mark.parametrize("space, changes, wanted", [
    ({"lr": [3e-4, 1e-2, "log"], "augment": ["none", "light"]}, {"AUGMENTATION": "none"}, {"best", "runner-up", "as they stand"}),
    ({"lr": [3e-4, 1e-2, "log"]}, {"LEARNING_RATE": 0.01}, {"best", "runner-up"}),  # as they stand they are best
    ({"lr": [3e-4, 1e-2, "log"]}, {"LEARNING_RATE": 0.02}, {"best", "runner-up", "as they stand"}),  # better, but not in the space
    ({"augment": ["none", "light"]}, {"AUGMENTATION": "none"}, {"best", "runner-up"})])  # the runner-up
def test_the_noise_band_holds_the_settings_as_they_stand(space, changes, wanted, quick, split, tmp_path):
    chosen = settings(space, SEARCH_TRIALS=5, SEARCH_IMAGES=12, FINAL_SEEDS=3) | changes
    search = search_module.run_search(chosen, split, folder=tmp_path)
    before = len(quick)
    band = noise_band(search, split, folder=tmp_path)
    assert set(band["setting"]) == wanted and len(band) == 3 * len(wanted) == len(quick) - before
    assert [tried["SEED"] for tried in quick[before:]] == [1, 2, 3] * len(wanted)
    standing = [tried for tried in quick[before:] if same_settings(tried | {"SEED": 0}, chosen)]
    assert [tried["SEED"] for tried in standing] == [1, 2, 3]
    assert band["score"].tolist() == pytest.approx([row["trial_score"] + 0.001 * row["seed"] for row in band.to_dict("records")])


def test_of_equal_scores_the_first_trial_is_best():
    """Two trials of the same setting do not move it behind another one with the same score."""
    study = optuna.create_study(direction="maximize")
    for x in (0.1, 0.2, 0.1):
        study.add_trial(optuna.trial.create_trial(params={"x": x}, distributions={"x": FloatDistribution(0, 1)}, value=0.9))
    assert [trial.number for trial in Search(study, {}, {}, 3).ranked] == [0, 1]


def test_weights_that_cannot_be_had_stop_the_search_before_a_trial(split, tmp_path, monkeypatch):
    def unreachable(*arguments, **options):
        raise ValueError("the weights are not on this machine")
    monkeypatch.setattr("inside.models.build.require_reachable", unreachable)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    chosen = settings({"architecture": ["convnet5", "resnet18"]}, WEIGHTS="imagenet")
    with pytest.raises(ValueError, match="not on this machine"):
        run_search(chosen, split, folder=tmp_path)
    assert not (tmp_path / "study.log").exists()


def test_subset_keeps_class_shares(split):
    train = split.parts["train"]
    part = stratified_subset(train, 36, seed=0)
    assert set(part["label"].value_counts()) == {6} and set(part["path"]) <= set(train["path"]) and part["path"].is_unique
    assert stratified_subset(train, 0, seed=0) is train and stratified_subset(train, 9999, seed=0) is train
    assert len(stratified_subset(train, len(train) - 1, seed=0)) == len(train) - 1
    assert part.equals(stratified_subset(train, 36, seed=0)) and not part.equals(stratified_subset(train, 36, seed=1))


@budget(max_examples=60, deadline=None)
@example(sizes=[1, 1, 5], share=0.3, seed=0)  # two images of three classes
@example(sizes=[1, 1, 1, 1, 40], share=0.2, seed=0)  # rare classes take from the large one
@given(sizes=some.lists(some.integers(1, 40), min_size=1, max_size=12), share=some.floats(0, 1.2), seed=some.integers(0, 3))
def test_subset_at_extremes(sizes, share, seed):
    """One image a class, one class, more classes than images asked for: each class stays, as many as asked, shares to within one."""
    rows = [(f"class {label}", f"{label}/{number}") for label, size in enumerate(sizes) for number in range(size)]
    part = pd.DataFrame(rows, columns=["label", "path"]).sample(frac=1, random_state=seed).reset_index(drop=True)
    asked = round(share * len(part))
    chosen = stratified_subset(part, asked, seed=seed)
    if not 0 < asked < len(part):
        assert chosen is part
        return
    assert len(chosen) == max(asked, len(sizes)) and set(chosen["label"]) == set(part["label"]) and chosen["path"].is_unique
    assert chosen["path"].tolist() == [path for path in part["path"] if path in set(chosen["path"])]  # in the order of the part
    counts, whole = chosen["label"].value_counts(), part["label"].value_counts()
    exact = whole * asked / len(part)
    assert ((counts - exact) < 1 + 1e-9).all() and (exact.min() < 1 or ((exact - counts) < 1 + 1e-9).all())


def test_every_trial_that_fails_unexpectedly_stops_with_the_reason(split, tmp_path, monkeypatch):
    def divides(*arguments, **options):
        raise ZeroDivisionError("float division by zero")
    monkeypatch.setattr("inside.selection.search.train", divides)
    search = search_module.run_search(settings(SEARCH_TRIALS=2, SEARCH_IMAGES=12), split, folder=tmp_path)
    with pytest.raises(ValueError, match="came to an end: ZeroDivisionError: float division by zero"):
        _ = search.ranked
