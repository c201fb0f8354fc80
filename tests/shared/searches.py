"""Settings and made-up searches that tests of selection share."""

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from inside.cli.profiles import NOTEBOOKS, notebook_parameters
from inside.selection.search import Search

BOOK = sorted(NOTEBOOKS.glob("*.ipynb"))[0]


DEFAULTS = notebook_parameters(BOOK)


TINY = {"ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": 32, "EPOCHS": 2, "BATCH_SIZE": 16, "WORKERS": 0,
        "PRECISION": "float32", "FINAL_SEEDS": 2}


def settings(space=None, **changes):
    return DEFAULTS | TINY | {"SEARCH_TRIALS": 4, "SEARCH_SPACE": space or {"lr": [1e-4, 1e-2, "log"]}} | changes


SEARCHED = {"lr": [1e-3, 0.1, "log"], "augment": ["none", "light"], "strategy": ["head", "full"], "architecture": ["timm/test_resnet", "convnet5"],
            "dropout": [0.0, 0.4], "filters": [4, 8, 12]}


TOLD_SPACE = {"learning_rate": FloatDistribution(1e-4, 1e-2, log=True), "augmentation": CategoricalDistribution(["none", "light"])}


def made_search(trials, apart=None):
    """A search with the trials [(learning rate, augmentation, state, score)]; apart: the score of the settings as they stand, or "FAIL"."""
    study = optuna.create_study(direction="maximize")
    for rate, augmentation, state, value in trials:
        study.add_trial(optuna.trial.create_trial(
            params={"learning_rate": rate, "augmentation": augmentation}, distributions=TOLD_SPACE, state=TrialState[state],
            value=None if state == "FAIL" else value, user_attrs={"reason": "The loss is not finite."} if state == "FAIL" else {}))
    own = None if apart is None else optuna.trial.create_trial(
        state=TrialState.FAIL if apart == "FAIL" else TrialState.COMPLETE, value=None if apart == "FAIL" else apart)
    return Search(study, TOLD_SPACE, settings(), len(trials), own)


def made_band(scores, trial_scores=None):
    """A noise band with these scores: {setting: [score of each seed]}."""
    rows = [{"setting": name, "trial": number, "seed": seed + 1, "score": score, "trial_score": (trial_scores or {}).get(name, 0.5)}
            for number, (name, values) in enumerate(scores.items()) for seed, score in enumerate(values)]
    return pd.DataFrame(rows)


def made(n=40):
    """A search with a known answer: the score follows x, and a little the word; y is noise."""
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(1e-3, 1, log=True), "word": CategoricalDistribution(["a", "b", "c"])}
    rng, study = np.random.default_rng(0), optuna.create_study(direction="maximize")
    for _ in range(n):
        params = {"x": float(rng.uniform()), "y": float(rng.uniform(0.01, 1)), "word": str(rng.choice(["a", "b", "c"]))}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=params["x"] + 0.1 * (params["word"] == "c")))
    return Search(study, space, {}, n)
