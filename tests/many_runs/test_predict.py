"""Tests of inside/many_runs: predictions for new images, how far they lie, what cannot be read, and the sheet."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from inside.cli.main import main
from inside.cli.profiles import read_profile
from inside.evaluation.predictions import saved_predictions
from inside.files import NotWritten, RunFolder, read_csv
from inside.many_runs import predict_folder
from inside.many_runs.predict import familiar
from inside.many_runs.predict.familiar import Familiar
from inside.many_runs.predict.folder import list_images
from inside.many_runs.predict.sheet import write_sheet
from inside.models.build import build_network
from inside.models.saved import SavedModel, load_network, save_network
from inside.report.page import outside_requests


@pytest.fixture(scope="module")
def run(split, tmp_path_factory):
    """A run whose network has random weights, of the drawn scenes."""
    folder = RunFolder(str(tmp_path_factory.mktemp("runs") / "run"))
    model, preprocessing = build_network("timm/test_resnet", len(split.classes), weights="random", seed=1)
    split.save(folder.path("split.csv"))
    save_network(folder, model.state_dict(), SavedModel(architecture="timm/test_resnet", classes=split.classes, image_size=32,
                                                       preprocessing=preprocessing, split=split.fingerprint, root=str(split.root)))
    return folder


def test_images_are_predicted_as_notebook_01_predicts_them(run, split, tmp_path):
    model, _ = build_network("timm/test_resnet", len(split.classes), weights="random", seed=1)
    wanted = saved_predictions(run, "test", model, split).set_index("path")
    for path in wanted.index:
        (tmp_path / "new" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(split.root / path, tmp_path / "new" / path)
    found = predict_folder(run.name, tmp_path / "new", batch_size=7)
    table = read_csv(found.file, texts=("path", "label", "predicted")).set_index("path")
    assert found.file == run.path("predicted", "new.csv") and set(table.index) == set(wanted.index)
    assert list(table)[:5] == ["label", "predicted", "confidence", "distance", "far"]
    table = table.loc[wanted.index]
    assert table["predicted"].equals(wanted["predicted"]) and table["label"].equals(wanted["label"])
    scores = [name for name in wanted if name.startswith("prob_")]
    assert np.allclose(table[scores], wanted[scores], atol=1e-5) and np.allclose(table["confidence"], wanted["confidence"], atol=1e-5)
    rate = (wanted["label"] == wanted["predicted"]).mean()
    assert any(f"Of {len(wanted)} in folders named as classes, {100 * rate:.1f}% are" in told for told in found.summary)
    assert found.images["path"].tolist() == read_csv(found.file, texts=("path",))["path"].tolist()


def test_memory_that_runs_out_is_told_once(run, split, monkeypatch, capsys):
    class Hungry(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images):
            if len(images) > 4:
                raise torch.OutOfMemoryError("too much")
            return self.inner(images)
    model, saved = load_network(run)
    monkeypatch.setattr("inside.many_runs.predict.folder.load_network", lambda known: (Hungry(model), saved))
    monkeypatch.setattr("inside.many_runs.predict.folder.Familiar.of", lambda *_: (_ for _ in ()).throw(ValueError("not asked for")))
    found = predict_folder(run.name, split.root / "sea", batch_size=8)
    assert len(found.images) == 20 and capsys.readouterr().out.count("out of memory") == 1


def test_the_distance_is_that_to_the_tenth_nearest_training_image(run, split):
    model, _ = build_network("timm/test_resnet", len(split.classes), weights="random", seed=1)
    known = Familiar.of(run, model)
    wanted = torch.randn(3, known.features.shape[1])
    cosines = wanted.numpy() @ known.features.numpy().T / np.linalg.norm(wanted.numpy(), axis=1, keepdims=True)
    assert np.allclose(known.distances(wanted), 1 - np.sort(cosines)[:, -10], atol=1e-5)
    kept = read_csv(run.path("val_distances.csv"), texts=("path",))
    assert known.limit == pytest.approx(kept["distance"].quantile(0.99)) and kept["path"].tolist() == split.parts["val"]["path"].tolist()
    assert known.distances(known.features).max() < 1 and len(known.features) == len(split.parts["train"])


def test_what_lies_beyond_the_validation_images_is_far(run, split, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(tmp_path / "noise" / f"{number}.png")
    found = predict_folder(run.name, tmp_path / "noise")
    assert found.images["far"].equals(found.images["distance"] > found.limit) and set(found.images["label"]) == {""}
    between = float(found.images["distance"].median())
    whole = Familiar.of
    monkeypatch.setattr(Familiar, "of", classmethod(lambda cls, *given: Familiar(whole(*given).features, between)))
    found = predict_folder(run.name, tmp_path / "noise")
    assert found.images["far"].sum() == 4 and found.summary[1].startswith("4 (50.0%) lie farther from the training images")


def test_files_that_cannot_be_read_are_listed_and_the_others_predicted(run, split, tmp_path):
    folder = tmp_path / "<b>bold"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(split.root / split.table["path"][0], folder / "deep" / "=cmd.jpg")
    (folder / "broken.jpg").write_text("no image")
    (folder / "photo.heic").write_text("")
    found = predict_folder(run.name, folder, tmp_path / "out" / "told.csv")
    assert found.images["path"].tolist() == ["deep/=cmd.jpg"] and found.file == tmp_path / "out" / "told.csv"
    assert dict(found.unreadable.to_numpy())["photo.heic"].startswith("HEIC is not supported") and set(found.unreadable["path"]) == {"broken.jpg", "photo.heic"}
    assert found.summary[-1] == "2 files could not be read."
    page = write_sheet(found, tmp_path / "sheet.html").read_text()
    assert "<b>bold" not in page and "&lt;b&gt;bold" in page and "broken.jpg" in page and outside_requests(page) == [] and "default-src 'none'" in page
    assert page.count("<img ") == 1


def test_the_sheet_shows_the_farthest_the_least_confident_and_a_draw(run, split, tmp_path, monkeypatch):
    from inside.many_runs.predict import sheet
    for path in split.table["path"][:30]:
        (tmp_path / "some" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(split.root / path, tmp_path / "some" / path)
    found = predict_folder(run.name, tmp_path / "some")
    monkeypatch.setattr(sheet, "FARTHEST", 2), monkeypatch.setattr(sheet, "LEAST", 3), monkeypatch.setattr(sheet, "DRAWN", 4)
    found.images["far"] = found.images["distance"] >= found.images["distance"].nlargest(5).iloc[-1]
    page = write_sheet(found, tmp_path / "sheet.html").read_text()
    first, least, draw = (part.count("<img ") for part in page.split("<section>")[1:])
    assert (first, least, draw) == (2, 3, 4)
    farthest = found.images.sort_values("distance", ascending=False)["path"].iloc[0]
    assert farthest in page.split("<section>")[1]


def test_without_the_images_of_the_run_there_is_no_distance(run, split, tmp_path):
    other = RunFolder(str(tmp_path / "moved"))
    for name in ("model.safetensors", "model.json"):
        shutil.copy(run.path(name), other.path(name))
    (tmp_path / "new").mkdir()
    shutil.copy(split.root / split.table["path"][0], tmp_path / "new" / "a.jpg")
    found = predict_folder(other.name, tmp_path / "new")
    assert found.images["distance"].isna().all() and not found.images["far"].any()
    assert found.summary[1] == f"How far they lie from the training images is not known: the run {other.name!r} has no split.csv."


def test_memory_does_not_grow_with_the_scores(run, split, tmp_path, monkeypatch):
    """The scores are written batch by batch, not gathered: only the columns of `Predicted.images` are kept."""
    (tmp_path / "new").mkdir()
    for number in range(5):
        shutil.copy(split.root / split.table["path"][number], tmp_path / "new" / f"{number}.jpg")
    written = []
    monkeypatch.setattr("inside.many_runs.predict.folder.csv_text", lambda table, header: written.append(len(table)) or "")
    found = predict_folder(run.name, tmp_path / "new", batch_size=2)
    assert written == [2, 2, 1] and not [name for name in found.images if name.startswith("prob_")]


def test_names_with_line_breaks_in_a_later_batch_leave_the_table_whole(run, split, tmp_path):
    (tmp_path / "new").mkdir()
    names = ["1.jpg", "2.jpg", "3\r.jpg", "4\n.jpg", "5.jpg"]
    for place, name in enumerate(names):
        shutil.copy(split.root / split.table["path"][place], tmp_path / "new" / name)
    found = predict_folder(run.name, tmp_path / "new", batch_size=2)
    table = read_csv(found.file, texts=("path",))
    assert sorted(table["path"]) == sorted(names) and set(table) == {"path", "label", "predicted", "confidence", "distance", "far",
                                                                     *(f"prob_{name}" for name in split.classes)}


def test_the_run_of_somebody_else_predicts_without_its_distances_being_kept(run, split, tmp_path, monkeypatch):
    (tmp_path / "new").mkdir()
    shutil.copy(split.root / split.table["path"][0], tmp_path / "new" / "a.jpg")
    wanted = predict_folder(run.name, tmp_path / "new", tmp_path / "one.csv")

    def refused(path, table):
        raise NotWritten(f"{path} was not written (Permission denied)")
    run.path(familiar.FILE).unlink()
    monkeypatch.setattr(familiar, "write_csv", refused)
    found = predict_folder(run.name, tmp_path / "new", tmp_path / "two.csv")
    assert found.limit == pytest.approx(wanted.limit, rel=1e-6) and not run.path(familiar.FILE).exists()


@pytest.mark.parametrize("command", [["predict", "<run>", "."], ["check", "<run>"]])
def test_a_table_under_the_name_of_a_page_is_refused(run, tmp_path, capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main([word.replace("<run>", run.name) for word in command] + ["--out", str(tmp_path / "out.html")])
    assert stopped.value.code == 2 and "a name that ends in .csv is needed" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments, told", [
    (["predict", "no-such-run", "."], "has no trained network"), (["predict", "<run>", "nowhere"], "There is no folder nowhere"),
    (["predict", "<run>", "<empty>"], "contains no image"), (["predict", "<run>", "<broken>"], "None of the 1 images")])
def test_what_cannot_be_done_is_told_in_one_sentence(run, tmp_path, capsys, arguments, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_text("no image")
    places = {"<run>": run.name, "<empty>": str(tmp_path / "empty"), "<broken>": str(tmp_path / "broken")}
    assert main([places.get(word, word) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and error.count("\n") == 1
    assert not list(run.path("predicted").glob("*empty*")) and not list(run.path("predicted").glob("*broken*"))


def test_the_command_writes_table_and_sheet(run, split, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    shutil.copy(split.root / split.table["path"][0], tmp_path / "new" / "a.jpg")
    assert main(["predict", run.name, str(tmp_path / "new"), "--out", str(tmp_path / "table.csv"), "--batch", "4"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-2:] == [f"table: {tmp_path / 'table.csv'}", f"sheet: {tmp_path / 'table.html'}"] and told[0].startswith("1 image, ")
    assert (tmp_path / "table.html").exists() and len(pd.read_csv(tmp_path / "table.csv")) == 1
    assert familiar.NEIGHBOUR == 10 and list_images(tmp_path / "new") == (["a.jpg"], {})


def test_a_profile_cannot_have_the_name_of_a_command(tmp_path):
    (tmp_path / "predict.yaml").write_text("EPOCHS: 1")
    with pytest.raises(ValueError, match="has the name of a command: rename it"):
        read_profile(str(tmp_path / "predict.yaml"))
