"""What is measured of the stages of a run, and what is told of it: by hand, with frozen stages, and where something is missing."""

import copy
import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from inside.data.sources import open_dataset
from inside.data.split import split_images
from inside.data.table import decode_images
from inside.feature_maps.intrinsic_dimension import two_nn
from inside.feature_maps.probes import probe
from inside.feature_maps.scenarios import open_scenarios, own_images
from inside.feature_maps.similarity import linear_cka
from inside.feature_maps.spectra import spectrum
from inside.feature_maps.stage_measures import NETWORKS, Stages, measure_stages
from inside.feature_maps.stage_report import describe_stages, report_stages, stage_results, where_it_begins
from inside.files import RunFolder, write_json
from inside.models.build import build_network
from inside.models.saved import SavedModel, load_network, save_network
from inside.shown import Figure, Fold, Table, Text
from shared.feature_maps import rng

OPTIONS = {"widths": [4, 6, 8]}
STAGES = ["blocks.0", "blocks.1", "blocks.2"]


def write_run(folder, images, *, sizes=(0.4, 0.5, 0.1), **told):
    """A run folder with a network whose first block was frozen, and the split of images, as notebook 01 leaves them."""
    run = RunFolder(str(folder))
    table, _ = decode_images(open_dataset(str(images)), cache=folder / "cache")
    split = split_images(table, list(sizes), seed=0)
    split.save(run.path("split.csv"))
    model, preprocessing = build_network("convnet_gap", len(split.classes), weights="random", seed=3, image_size=16, options=OPTIONS)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * (not name.startswith("blocks.0"))
    saved = {"architecture": "convnet_gap", "options": OPTIONS, "classes": split.classes, "image_size": 16, "preprocessing": preprocessing,
             "split": split.fingerprint, "root": str(split.root), "settings": {"WEIGHTS": "random", "SEED": 3}}
    save_network(run, model.state_dict(), SavedModel(**saved | told))
    return run


def scenarios_of(run, **options):
    own = own_images(run, "demo", 4)
    return open_scenarios(run, own, architecture="convnet_gap", n_images=4, imagenet_val="photo_patches", cifar10="digits",
                          device=torch.device("cpu"), map_size=16, **options)[0]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of 40 images of 16×16 pixels, noise about a colour of their own; two are copies of another one."""
    folder = tmp_path_factory.mktemp("stages") / "colours"
    for place, label in enumerate(("blue", "green", "red")):
        (folder / label).mkdir(parents=True)
        for number in range(40):
            noise = rng(100 * place + number).normal(128, 40, (16, 16, 3))
            noise[..., place] += 12
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / label / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def copied(images, tmp_path_factory):
    """The images and copies of the first six of them."""
    folder = tmp_path_factory.mktemp("copies") / "colours"
    shutil.copytree(images, folder)
    for number in range(6):
        shutil.copy(folder / "red" / f"{number:02d}.png", folder / "red" / f"copy{number}.png")
    return folder


@pytest.fixture(scope="module")
def measured(copied, tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("run"), copied)
    scenarios = scenarios_of(run)
    return run, scenarios, measure_stages(run, scenarios, batch_size=16)


def features_of(model, table, root, layer):
    """Spatial means of a layer, one image at a time, by a hook of its own; and the share of values ≤ 0."""
    kept = []
    handle = dict(model.named_modules())[layer].register_forward_hook(lambda module, inputs, output: kept.append(output.clone()))
    with torch.no_grad():
        for path in table["path"]:
            pixels = np.asarray(Image.open(root / path).convert("RGB")) / np.float32(255)
            model(torch.tensor((pixels - 0.5) / 0.25).permute(2, 0, 1)[None])
    handle.remove()
    return torch.cat([output.mean((2, 3)) for output in kept]).double().numpy(), float((torch.cat(kept) <= 0).float().mean())


def test_all_measures_by_hand(measured):
    run, scenarios, stages = measured
    saved, table = SavedModel.of(run), pd.read_csv(run.path("split.csv"))
    parts = {part: table[table["split"] == part].sort_values("path").reset_index(drop=True) for part in ("train", "val")}
    initial = build_network(**saved.kind, weights="random", seed=3)[0].eval()
    networks = {"fine-tuned": load_network(run)[0], "initial": initial, "random": scenarios["random_own"].model}
    assert (stages.names, stages.train, stages.val, stages.start, stages.image_size) == (STAGES, len(parts["train"]), len(parts["val"]), "random", 16)
    distinct = ~parts["val"]["sha256"].duplicated()
    assert 0 < stages.distinct == distinct.sum() < len(distinct)
    frequent = parts["train"]["label"].mode()[0]
    assert stages.majority == pytest.approx((parts["val"]["label"][distinct] == frequent).mean())
    root, found = run.path(saved.root), {}
    for name, model in networks.items():
        for stage in STAGES:
            (learnt, _), (features, share) = (features_of(model.eval(), parts[part], root, stage) for part in ("train", "val"))
            found[name, stage] = features
            row = stages.of(name).loc[stage]
            right = (probe(learnt, parts["train"]["label"], features) == parts["val"]["label"])[distinct]  # copies count once
            assert abs(row["probe"] - right.mean()) <= 1.01 / len(right)  # rounding may turn one image
            assert row["probe"] * stages.distinct == pytest.approx(round(row["probe"] * stages.distinct))
            assert row["probe_low"] < row["probe"] < row["probe_high"]
            assert row["non_positive_share"] == pytest.approx(share, abs=1e-4)
            assert row["effective_rank"] == pytest.approx(spectrum(features).effective_rank, rel=1e-4)
            dimension = two_nn(features[distinct])
            assert row[["intrinsic_dimension", "dimension_low", "dimension_high"]].tolist() == pytest.approx(list(dimension), rel=1e-2)
    for name, of_it in (("fine-tuned", stages.of("fine-tuned")), ("random", stages.of("random"))):
        assert of_it["cka"].tolist() == pytest.approx([linear_cka(found[name, stage], found["initial", stage]) for stage in STAGES], abs=1e-4)
    assert stages.cka[2, 1] == pytest.approx(linear_cka(found["fine-tuned", "blocks.2"], found["initial", "blocks.1"]), abs=1e-4)
    assert stages.cka.shape == (3, 3) and not np.allclose(stages.cka, stages.cka.T, atol=0.01)


def test_frozen_stages_are_unchanged_exactly(measured):
    _, _, stages = measured
    assert stages.frozen == ["blocks.0"]
    tuned, initial = (stages.of(name).loc["blocks.0"] for name in NETWORKS[:2])
    assert tuned["weight_change"] == 0 and tuned["cka"] == pytest.approx(1, abs=1e-12) and tuned["p_value"] == 1
    same = ["probe", "effective_rank", "non_positive_share", "intrinsic_dimension", "dimension_low"]
    assert tuned[same].equals(initial[same])
    later = stages.of("fine-tuned").loc[STAGES[1:]]
    assert (later["weight_change"] > 0.05).all() and (later["cka"] < 0.99999).all()


def test_near_copies_do_not_count_for_the_intrinsic_dimension(images, tmp_path):
    """Images of one group in split.csv may differ in their pixels: of each group the first is taken."""
    run = write_run(tmp_path / "run", images)
    table = pd.read_csv(run.path("split.csv"))
    val = table[table["split"] == "val"].sort_values("path")
    table.loc[val.index[[1, 4, 6]], "group"] = 77
    table.to_csv(run.path("split.csv"), index=False)
    stages = measure_stages(run, scenarios_of(run))
    kept = val.drop(index=val.index[[4, 6]])
    assert (stages.val, stages.distinct) == (len(val), len(kept))
    features = features_of(load_network(run)[0], kept, run.path(SavedModel.of(run).root), "blocks.2")[0]
    assert stages.of("fine-tuned").loc["blocks.2", "intrinsic_dimension"] == pytest.approx(two_nn(features).value, rel=1e-3)


def test_they_are_measured_once(measured, monkeypatch):
    run, scenarios, stages = measured
    with monkeypatch.context() as patched:
        patched.setattr("inside.feature_maps.stage_measures.collect_statistics", lambda *_, **__: pytest.fail("measured again"))
        again = measure_stages(run, scenarios, batch_size=16)
        pd.testing.assert_frame_equal(again.table, stages.table)
        assert np.array_equal(again.cka, stages.cka) and dataclasses.replace(again, table=0, cka=0) == dataclasses.replace(stages, table=0, cka=0)
        with pytest.raises(pytest.fail.Exception, match="measured again"):
            other = copy.deepcopy(scenarios["random_own"].model)
            with torch.no_grad():
                other.output.bias += 1
            measure_stages(run, scenarios | {"random_own": dataclasses.replace(scenarios["random_own"], network=other)})


def test_what_is_shown_and_written(measured, tmp_path):
    _, _, stages = measured
    figure, text, fold = report_stages(stages)
    assert isinstance(figure, Figure) and isinstance(text, Text) and isinstance(fold, Fold) and figure.name == "stages"
    assert [part.name for part in fold.parts] == ["stages", "stage_cka"] and all(isinstance(part, Table) for part in fold.parts)
    assert len(fold.parts[0].table) == 9 and fold.parts[1].table["fine-tuned"].tolist() == STAGES
    axes = figure.drawing.axes
    assert len(axes) == 7  # six panels and a colour bar
    assert [bar.get_height() for bar in axes[1].containers[0]] == pytest.approx((100 * stages.of("fine-tuned")["weight_change"]).tolist())
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes[3].lines}
    assert lines == {name: stages.of(name)["effective_rank"].tolist() for name in NETWORKS}
    assert [label.get_text() for label in axes[3].get_xticklabels()] == ["1 blocks.0", "2 blocks.1", "3 blocks.2"]
    assert [text.get_text() for text in axes[3].texts] == ["frozen"] and axes[3].texts[0].get_position()[0] == 0
    assert f"{stages.train} training images and {stages.distinct} validation images, copies counted once" in figure.caption and "Frozen stages are shaded." in figure.caption
    assert "this draw" in text.markdown and "**" not in figure.alt
    write_json(tmp_path / "results.json", stage_results(stages))
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["stages_reason"] is None and found["stages"]["names"] == STAGES and found["stages"]["frozen"] == ["blocks.0"]
    entry = found["stages"]["networks"]["fine-tuned"]["blocks.2"]
    assert entry["probe"] == stages.of("fine-tuned").loc["blocks.2", "probe"] and "p_value" in entry
    assert found["stages"]["cka"] == stages.cka.tolist() and "weight_change" not in found["stages"]["networks"]["random"]["blocks.2"]


def test_what_is_missing_is_told(measured, images, tmp_path):
    run, scenarios, _ = measured
    without = measure_stages(run, {name: one for name, one in scenarios.items() if name != "finetuned_own"})
    assert describe_stages(without) == ["The stages of the network are not measured: this needs the fine-tuned network of notebook 01 and its split."]
    assert [part.markdown for part in report_stages(without)] == ["Not measured: this needs the fine-tuned network of notebook 01 and its split."]
    assert stage_results(without) == {"stages": None, "stages_reason": without.reason}
    small = write_run(tmp_path / "small", images, sizes=[12, 12, 4])
    few = measure_stages(small, scenarios_of(small))
    assert few.no_probe == "12 training images of 3 classes are too few for a probe"
    assert few.no_dimension == "12 different validation images are too few for their intrinsic dimension"
    told = describe_stages(few)
    assert told[0].startswith("Where fine-tuning begins to matter was not measured. The weights moved most in **blocks.")
    assert told[-1] == f"Not measured: {few.no_probe} and {few.no_dimension}." and "nan" not in " ".join(told)
    assert len(report_stages(few)[0].drawing.axes) == 7 and stage_results(few)["stages"]["missing"] == {
        "probe": few.no_probe, "intrinsic_dimension": few.no_dimension}
    tiny = write_run(tmp_path / "tiny", images, sizes=[12, 3, 4])
    assert measure_stages(tiny, scenarios_of(tiny)).reason == "there are 3 validation images, and at least 4 are needed"
    pretrained = write_run(tmp_path / "pretrained", images, settings={"WEIGHTS": "imagenet", "SEED": 0})
    assert measure_stages(pretrained, scenarios_of(pretrained)).reason == "the scenario imagenet_own is missing, the reason is told in section 1"


def test_a_network_that_gives_no_numbers_is_told(images, tmp_path):
    run = write_run(tmp_path / "run", images)
    model, saved = load_network(run)
    with torch.no_grad():
        model.blocks[1].conv.weight[0] = torch.nan
    save_network(run, model.state_dict(), saved)
    stages = measure_stages(run, scenarios_of(run))
    assert stages.reason == "blocks.1 of the fine-tuned network gives values that are NaN or infinite; train again, with a lower LEARNING_RATE"
    assert stage_results(stages)["stages"] is None and len(report_stages(stages)) == 1


def made_up(tuned, initial, p, changes, frozen=0, cka=(0.99, 0.9, 0.7), **told):
    rows = [{"network": name, "stage": f"block{place}", "frozen": place < frozen, "probe": values[place], "cka": cka[place],
             "p_value": p[place] if name == "fine-tuned" else np.nan, "weight_change": changes[place] if name == "fine-tuned" else np.nan}
            for name, values in (("fine-tuned", tuned), ("initial", initial), ("random", initial)) for place in range(3)]
    return Stages(pd.DataFrame(rows), np.eye(3), 100, 100, 100, **told)


@pytest.mark.parametrize("tuned, p, begins, told", [
    ([0.5, 0.7, 0.9], [1, 1, 0.001], "block2", "A linear probe is significantly better after fine-tuning in the last of 3 stages only, **block2** (90.0% against 60.0%"),
    ([0.5, 0.7, 0.9], [1, 0.01, 0.001], "block1", "From **block1** on, stage 2 of 3, a linear probe is significantly better after fine-tuning in every stage"),
    ([0.5, 0.7, 0.9], [0.01, 0.2, 0.001], "block2", "in the last of 3 stages"),  # one in between shows no difference
    ([0.5, 0.7, 0.61], [0.01, 0.01, 0.5], None, "even in the last stage, **block2**, a linear probe is better, though by no more than chance"),
    ([0.5, 0.7, 0.4], [0.01, 0.01, 0.01], None, "a linear probe is no better (40.0% against 60.0%"),  # different, but worse
])
def test_where_fine_tuning_begins_to_matter(tuned, p, begins, told):
    stages = made_up(tuned, [0.5, 0.6, 0.6], p, [0.001, 0.02, 0.004])
    assert where_it_begins(stages) == begins and told in describe_stages(stages)[0]
    place = {"block2": "1 stage before that.", "block1": "the same stage.", None: "of their norm)."}[begins]
    assert "The weights moved most in **block1**, stage 2 (by 2.0% of their norm)" in describe_stages(stages)[0]
    assert describe_stages(stages)[0].endswith(place)
    assert describe_stages(stages)[1] == "The features of the fine-tuned and the initial network are least alike in **block2** (CKA 0.70)."


def test_frozen_stages_are_told():
    all_frozen = made_up([0.5, 0.6, 0.6], [0.5, 0.6, 0.6], [1, 1, 1], [0, 0, 0], frozen=3, cka=(1, 1, 1))
    assert describe_stages(all_frozen) == ["All 3 stages were frozen during fine-tuning, and therefore unchanged by construction: only what "
                                           "follows them has learnt."]
    one = made_up([0.5, 0.6, 0.9], [0.5, 0.6, 0.6], [1, 1, 0.01], [0, 0.1, 0.2], frozen=1, cka=(0.2, 0.9, 0.8))
    assert "least alike in **block2**" in describe_stages(one)[1]
