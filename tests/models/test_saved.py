"""Tests of inside/models/saved.py."""

import dataclasses
import json

import pytest
import torch

from inside.files import RunFolder, read_json, write_json
from inside.models.build import build_network
from inside.models.saved import SavedModel, load_network, save_network, save_temperature

KEYS = ["architecture", "options", "head", "classes", "image_size", "preprocessing", "split", "settings", "recipe", "costs", "seconds", "root",
        "device", "precision", "first_trainable", "frozen", "train_unaugmented", "temperature", "format"]
NEEDED = {"architecture": "convnet5", "classes": ["a", "b", "c"], "image_size": 32, "preprocessing": {"channels": 1}, "split": "x", "root": "/images"}


def network(**changes):
    return SavedModel(**NEEDED, options={"filters": 4, "in_channels": 1}, **changes)


def test_the_file_has_its_format(tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    assert SavedModel.read(run) is None
    saved = network(settings={"SPLIT": [0.6, 0.2, 0.2]}, costs={"parameters": 7}, frozen=["conv1"], seconds=1.5)
    saved.write(run)
    told = json.loads(run.path("model.json").read_text())
    assert list(told) == KEYS and told == dataclasses.asdict(saved)
    assert SavedModel.read(run) == saved


def test_runs_of_earlier_and_later_versions_can_be_read(tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    write_json(run.path("model.json"), NEEDED | {"a later key": 1})
    saved = SavedModel.read(run)
    assert (saved.options, saved.head, saved.settings, saved.frozen, saved.train_unaugmented) == ({}, "linear", {}, [], None)
    assert dataclasses.asdict(saved).items() >= NEEDED.items() and set(dataclasses.asdict(saved)) == set(KEYS)
    for name in NEEDED:
        write_json(run.path("model.json"), {key: value for key, value in NEEDED.items() if key != name})
        with pytest.raises(ValueError, match=f"does not tell {name}: run notebook 01 again"):
            SavedModel.read(run)


def test_the_network_is_of_the_kind_that_was_saved_with_its_weights(tmp_path):
    run, saved = RunFolder(str(tmp_path / "run")), network()
    model = build_network("convnet5", 3, weights="random", seed=5, image_size=32, options=saved.options)[0].eval()
    save_network(run, model.state_dict(), saved)
    again, told = load_network(run)
    image = torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again(image), model(image)) and not torch.equal(saved.build().eval()(image), model(image))
    assert told == saved and not again.training and read_json(run.path("model.json"))["options"] == saved.options


@pytest.mark.parametrize("gone", ["model.json", "model.safetensors"])
def test_half_a_network_is_none(tmp_path, gone):
    run = RunFolder(str(tmp_path / "run"))
    save_network(run, network().build().state_dict(), network())
    run.path(gone).unlink()
    with pytest.raises(ValueError, match="has no trained network"):
        load_network(run)


def test_a_temperature_is_noted_and_the_rest_stays(tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    save_network(run, network().build().state_dict(), network())
    run.mark("trained", "model.json", "model.safetensors")
    write_json(run.path("model.json"), whole := read_json(run.path("model.json")) | {"a later key": 1})
    run.mark("trained", "model.json")
    for temperature in (1.25, 0.5, None):
        save_temperature(run, temperature)
        assert read_json(run.path("model.json")) == whole | {"temperature": temperature} and SavedModel.of(run).temperature == temperature
        assert run.is_current("trained", "model.json", "model.safetensors") and not run.is_current("another", "model.json")
    before = run.path("model.json").stat().st_mtime_ns
    save_temperature(run, None)
    assert run.path("model.json").stat().st_mtime_ns == before
