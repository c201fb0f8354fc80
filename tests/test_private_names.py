"""Names of other libraries that begin with an underscore: which ones the code uses, and that they still do what it needs.

They may go with any update; then these tests tell where they are used, before a run goes wrong.
"""

import ast
from pathlib import Path

import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from torch import nn

from inside.files import ROOT

USED = {
    "_storage": "optuna.Study, in selection/study.py: signs of life of trials, and their restart",
    "_trial_id": "optuna.Trial and FrozenTrial, in selection/study.py: the trial that is meant",
    "_DropoutNd": "torch.nn.modules.dropout, in training/cached.py: all dropout modules",
    "_BatchNorm": "torch.nn.modules.batchnorm, in models/surgery.py: all batch norm modules",
    "_version": "torch.Tensor, in feature_maps/audit.py and attribution/cam.py: whether a tensor was overwritten",
    "_is_avx512_bf16_supported": "torch.cpu, in device.py: whether bfloat16 is fast",
    "_is_amx_tile_supported": "torch.cpu, in device.py: whether bfloat16 is fast",
    "_exit": "os, documented, in cli/main.py: Ctrl-C while packages are imported",
}


def private_names(file: Path) -> tuple[set[str], set[str]]:
    """Names with one underscore that a file uses of something other than self, and those that it defines itself."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)} | {
        alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names} | {
        node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
        and node.value.startswith("_is_") and node.value.isidentifier()}  # asked for by getattr
    own = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in ("self", "cls")} | {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)} | {
        node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    return {name for name in used if name.startswith("_") and not name.startswith("__")}, own


def needs(owner: object, name: str) -> object:
    assert hasattr(owner, name), f"{owner!r} has no {name} any more, which the code needs: {USED[name]}"
    return getattr(owner, name)


def test_the_list_of_private_names_is_whole():
    found = [private_names(file) for file in (*(ROOT / "inside").rglob("*.py"), ROOT / "helpers.py")]
    own = set().union(*(names for _, names in found))
    assert set().union(*(names for names, _ in found)) - own == set(USED)


def test_optuna_lets_a_trial_wait_again(tmp_path):
    """What the restart of a search needs: a note on a running trial, and to set it waiting, so that it is asked for again."""
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.log"))))
    storage, trial = needs(study, "_storage"), study.ask()
    value, number = trial.suggest_float("x", 0, 1), needs(trial, "_trial_id")
    storage.set_trial_user_attr(number, "worker", ["host:1", 2.5])
    assert needs(study.get_trials()[0], "_trial_id") == number and study.get_trials()[0].user_attrs["worker"] == ["host:1", 2.5]
    storage.set_trial_state_values(number, state=TrialState.WAITING)
    again = study.ask()
    assert again.number == trial.number and again.suggest_float("x", 0, 1) == value
    study.tell(again.number, 0.5)
    assert [entry.state for entry in study.get_trials()] == [TrialState.COMPLETE]
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):  # the sign that another process was faster
        storage.set_trial_user_attr(number, "worker", ["host:2", 3.5])


def test_torch_has_the_common_classes_of_dropout_and_of_batch_norm():
    dropout, norm = needs(nn.modules.dropout, "_DropoutNd"), needs(nn.modules.batchnorm, "_BatchNorm")
    assert all(issubclass(kind, dropout) for kind in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout))
    assert all(issubclass(kind, norm) for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)) and nn.Dropout(0.5).p == 0.5


def test_torch_counts_what_overwrites_a_tensor():
    x = torch.ones(3)
    before = needs(x, "_version")
    x + 1
    assert x._version == before
    x[:2].mul_(2)
    nn.functional.relu_(x)
    assert x._version == before + 2


@pytest.mark.parametrize("name", [name for name in USED if name.startswith("_is_")])
def test_torch_tells_whether_the_processor_is_fast_in_bfloat16(name):
    assert type(needs(torch.cpu, name)()) is bool
