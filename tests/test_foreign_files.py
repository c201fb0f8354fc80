"""Files that are not ours, or that somebody has changed: none runs code, each is refused with its reason or made anew."""

import inspect
import io
import json
import os
import pickle
import tarfile
import zipfile

import numpy as np
import optuna
import pytest
import safetensors.torch
import torch
import torchvision
from optuna.storages._rdb import models, storage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._base import BaseJournalSnapshot

from inside.cli.profiles import read_profile
from inside.data.sources import open_dataset
from inside.data.split import Split
from inside.files import RunFolder, read_json
from inside.models.build import build_network
from inside.models.saved import SavedModel, load_network, save_network
from inside.selection import study
from inside.selection.study import RepeatableSampler
from inside.training.cached import read_cached
from inside.training.loop import _read_checkpoint


class Payload:
    """Whoever unpickles it makes the folder "owned" in the working directory."""

    def __reduce__(self):
        return os.mkdir, ("owned",)


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "owned").exists()


RUBBISH = {"nothing": b"", "text": b"hello", "pickle": pickle.dumps(Payload()), "zip": b"PK\3\4" + bytes(100), "zeros": bytes(500),
           "a tensor alone": None}


def rubbish(kind, path):
    path.write_bytes(RUBBISH[kind]) if RUBBISH[kind] is not None else torch.save(torch.zeros(3), path)


@pytest.mark.parametrize("kind", RUBBISH)
@pytest.mark.parametrize("read", [read_cached, _read_checkpoint])
def test_caches_and_checkpoints_of_rubbish_are_made_anew_and_told(tmp_path, capsys, kind, read):
    rubbish(kind, tmp_path / "x.pt")
    assert read(tmp_path / "x.pt") == {} and "x.pt cannot be read (" in capsys.readouterr().out
    torch.save({"state": Payload()}, tmp_path / "x.pt")
    assert read(tmp_path / "x.pt") == {} and "x.pt cannot be read (UnpicklingError): it is made anew" in capsys.readouterr().out


def test_arrays_are_read_without_objects(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.array([Payload()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"), np.load(tmp_path / "x.npz") as stored:
        _ = stored["features"]


NEEDED = {"architecture": "convnet5", "classes": ["a", "b", "c"], "image_size": 32, "preprocessing": {"channels": 1}, "split": "x", "root": "/images",
          "options": {"filters": 4, "in_channels": 1}}


@pytest.fixture
def run(tmp_path):
    saved = SavedModel(**NEEDED)
    folder = RunFolder(str(tmp_path / "run"))
    save_network(folder, saved.build().state_dict(), saved)
    return folder


@pytest.mark.parametrize("told, sentence", [
    ("", "model.json is damaged (JSONDecodeError): delete it, and run the notebook again that writes it."), ("[1]", "is damaged (it holds no object)"),
    ("\xff", "is damaged (UnicodeDecodeError)"), ("[" * 100_000, "is damaged (RecursionError)"),
    ({"format": 2}, "is of a newer version of this project (format 2, known up to 1): update the project, or run notebook 01 again."),
    ({"format": "x"}, "is of a newer version of this project (format 'x'"), ({"classes": "abc"}, "has a value of classes that notebook 01 does not write ('abc')"),
    ({"classes": [1, 2]}, "has a value of classes that notebook 01 does not write ([1, 2])"), ({"classes": []}, "value of classes"),
    ({"image_size": "32"}, "has a value of image_size that notebook 01 does not write ('32'): run notebook 01 again."),
    ({"options": [1]}, "has a value of options"), ({"architecture": "os.system"}, "ARCHITECTURE = 'os.system' is not the name of a network"),
    ({"architecture": "timm/hf-hub:somebody/something"}, "timm has no network 'hf-hub:somebody/something'"),
    ({"architecture": "resnet18", "options": {}}, "holds the weights of another network than resnet18 with 3 classes, which model.json describes (conv1.weight: missing"),
    ({"classes": ["a", "b"]}, "than convnet5 with 2 classes, which model.json describes ("), ({"options": {"filters": 8, "in_channels": 1}}, "of another network"),
    ({"options": {"depth of the sea": 8}}, "convnet5 has no option 'depth of the sea'")])
def test_descriptions_that_do_not_fit_are_refused(run, told, sentence):
    file = run.path("model.json")
    file.write_bytes(told.encode("latin-1") if isinstance(told, str) else json.dumps(NEEDED | told).encode())
    with pytest.raises(ValueError) as error:
        load_network(run)
    assert sentence in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("harm, sentence", [
    (lambda whole: whole[:len(whole) // 2], "cannot be read ("), (lambda whole: b"", "cannot be read ("), (lambda whole: b"rubbish" * 99, "cannot be read ("),
    (lambda whole: pickle.dumps(Payload()), "cannot be read ("), (lambda whole: (2**60).to_bytes(8, "little") + whole[8:], "cannot be read ("),
    (lambda whole: safetensors.torch.save({"x": torch.zeros(1)}), "holds the weights of another network than convnet5 with 3 classes")])
def test_weights_that_do_not_fit_are_refused(run, harm, sentence):
    file = run.path("model.safetensors")
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(ValueError) as error:
        load_network(run)
    assert f"{file} {sentence}" in str(error.value) and str(error.value).endswith("run notebook 01 again.") and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", RUBBISH)
def test_weights_that_somebody_has_put_into_the_cache_of_torchvision_run_no_code(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    assert file.name in torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url
    rubbish(kind, file)
    with pytest.raises(ValueError, match="squeezenet1_1-b8a52dc0.pth does not hold the ImageNet weights of squeezenet1_1 .*: delete it, and it is fetched"):
        build_network("squeezenet1_1", 2)
    torch.save({"state": Payload()}, file)
    with pytest.raises(ValueError, match=r"does not hold the ImageNet weights of squeezenet1_1 \(UnpicklingError\)"):
        build_network("squeezenet1_1", 2)


SPLIT = "path,label,split,width,height,sha256,group\na/0.png,a,train,12,10,f0,\nb/0.png,b,test,12,10,f1,\n"


@pytest.mark.parametrize("change, reason", [
    (lambda text: text.replace("split,", "part,"), "there is no column split"), (lambda text: text.replace(",sha256,", ",hash,"), "there is no column sha256"),
    (lambda text: text.partition("\n")[0] + "\n", "it has no row"), (lambda text: "", "No columns to parse from file"),
    (lambda text: text.replace("train", "trian"), "a part is called 'trian'"), (lambda text: text.replace("b/0.png", "a/0.png"), "a/0.png stands there twice"),
    (lambda text: text.replace("a/0.png", "../../secret.png"), "../../secret.png is not within the folder of the images"),
    (lambda text: text.replace("a/0.png", "/etc/secret.png"), "/etc/secret.png is not within the folder of the images"),
    (lambda text: text + "a,b,c,d,e,f,g,h,i,j\n", "Error tokenizing data"), (lambda text: text.replace("f1,", "f1,two"), "")])
def test_a_split_that_somebody_has_edited_is_refused(tmp_path, change, reason):
    (tmp_path / "split.csv").write_text(SPLIT)
    assert len(Split.read(tmp_path / "split.csv", tmp_path).table) == 2
    (tmp_path / "split.csv").write_text(change(SPLIT))
    with pytest.raises(ValueError) as error:
        Split.read(tmp_path / "split.csv", tmp_path)
    told = str(error.value)
    assert f"split.csv is not as notebook 01 writes it ({reason}" in told and told.endswith("): run notebook 01 again.") and "\n" not in told


def test_stamps_that_cannot_be_read_are_made_anew_and_told_once(run, capsys):
    run.mark("stamp", "model.json")
    assert run.is_current("stamp", "model.json")
    run.path("stamps.json").write_text("{")
    assert not run.is_current("stamp", "model.json") and "stamps.json cannot be read: what it is about is made anew" in capsys.readouterr().out
    assert not run.is_current("stamp", "model.json") and capsys.readouterr().out == ""
    run.mark("stamp", "model.json")
    assert run.is_current("stamp", "model.json") and set(read_json(run.path("stamps.json"))) == {"model.json"}


LAUGHS = "a: &a [x, x]\n" + "".join(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize("text, problem", [
    (LAUGHS.encode(), "line 2: the alias *a is not allowed: write the value out"), (b"EPOCHS: &x 1\nSEED: *x\n", "line 2: the alias *x is not allowed"),
    (b"a: &a {b: *a}\n", "line 1: the alias *a is not allowed"), (b"base: &b {EPOCHS: 1}\nnew:\n  <<: *b\n", "line 3: the alias *b is not allowed"),
    (b"EPOCHS: 1\nSEED: 2\nEPOCHS: 3\n", "line 3: EPOCHS is given twice"), (b"? [1, 2]\n: 3\n", "line 1: a key is not a word"),
    (b"EPOCHS: !!python/object/apply:os.mkdir [owned]\n", "line 1: there is no tag 'tag:yaml.org,2002:python/object/apply:os.mkdir'"),
    (b"RUN: !include secret.txt\n", "line 1: there is no tag '!include'"), (b"RUN: caf\xe9\n", "it is not UTF-8 text"),
    (b"RUN: a\0b\n", "unacceptable character #x0000: special characters are not allowed"), (b"RUN: [1, 2\n", "line 2: expected ',' or ']', but got '<stream end>'"),
    (b"a: 1\n---\nb: 2\n", "line 2: but found another document"), (b"SPLIT: " + b"[" * 5000, "it is nested too deeply"),
    (b"EPOCHS: " + b"9" * 5000, "Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits."), (b"RUN: 2026-13-45\n", "month must be in 1..12"), (b"RUN:\tx: y\n", "line 1: found character '\\t' that cannot start any token")])
def test_profiles_are_plain_data(tmp_path, text, problem):
    (tmp_path / "p.yaml").write_bytes(text)
    with pytest.raises(ValueError) as error:
        read_profile(str(tmp_path / "p.yaml"))
    assert f"p.yaml cannot be read: {problem}" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", [b"- 1\n- 2\n", b"word", b"12", b"false", b"[]"])
def test_profiles_hold_parameters(tmp_path, text):
    (tmp_path / "p.yaml").write_bytes(text)
    with pytest.raises(ValueError, match="contains no parameters: expected lines such as 'EPOCHS: 4'"):
        read_profile(str(tmp_path / "p.yaml"))


def test_a_huge_profile_and_an_empty_one(tmp_path):
    (tmp_path / "p.yaml").write_bytes(b"# " + b"x" * 200_000)
    with pytest.raises(ValueError, match="p.yaml has 200,002 bytes, more than the 100,000 that a profile may have: is it another file"):
        read_profile(str(tmp_path / "p.yaml"))
    for text in ("", "# nothing but a comment\n"):
        (tmp_path / "p.yaml").write_text(text)
        assert read_profile(str(tmp_path / "p.yaml")) == {"RUN": "p"}


def open_study(file, stamp="search 0123456789abcdef"):
    return study.open_study({"STUDY_STORAGE": str(file)}, file, stamp, RepeatableSampler("random", 0))


def test_no_study_is_unpickled(tmp_path):
    """Optuna unpickles snapshots of journals, which a journal in a file does not have; its databases hold JSON."""
    assert not issubclass(JournalFileBackend, BaseJournalSnapshot)
    assert all("pickle" not in inspect.getsource(module).lower() for module in (models, storage))
    first = open_study(tmp_path / "study.log")
    first.ask()
    first.set_user_attr("x", pickle.dumps(Payload()).decode("latin-1"))
    assert len(open_study(tmp_path / "study.log").trials) == 1


@pytest.mark.parametrize("text", [b"A letter to my mother", b"A letter\nto my mother\n", b"{}\n", b'{"op_code": 1}\n', b"[1]\n", pickle.dumps(Payload()), b"\0" * 50])
def test_a_file_that_is_no_journal_stays_as_it_is(tmp_path, text):
    file = tmp_path / "letter.txt"
    file.write_bytes(text)
    with pytest.raises(ValueError, match="letter.txt is no journal of a search, or one that is damaged in line 1: give STUDY_STORAGE another file"):
        open_study(file)
    assert file.read_bytes() == text


def test_a_journal_that_is_cut_off_goes_on_and_one_that_is_damaged_is_refused(tmp_path, capsys):
    file = tmp_path / "study.log"
    open_study(file).ask()
    whole = file.read_bytes()
    for cut in (1, 5, 12, 40):
        file.write_bytes(whole + whole.splitlines()[-1][:cut])
        assert len(open_study(file).trials) == 1 and "study.log: the last line was cut off, and is removed" in capsys.readouterr().out
        assert file.read_bytes().startswith(whole) and file.read_bytes().endswith(b"}\n")
    file.write_bytes(b"\n".join([whole.splitlines()[0], b'{"op_code":4,"wor', *whole.splitlines()[1:], b""]))
    with pytest.raises(ValueError, match="study.log is no journal of a search, or one that is damaged in line 2: give .* or remove that line"):
        open_study(file)
    file.write_bytes(b'{"op_code":4,"worker_id":"x"}\n' + whole)
    with pytest.raises(ValueError, match="study.log is a journal that contradicts itself .KeyError.: give STUDY_STORAGE another file, or delete this one"):
        open_study(file)


def test_a_journal_of_another_project_is_told_and_kept(tmp_path, capsys):
    optuna.create_study(storage=optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "s.log"))), study_name="theirs\x1b[31m").ask()
    assert len(open_study(tmp_path / "s.log").trials) == 0
    assert capsys.readouterr().out == "STUDY_STORAGE also holds studies of something else, such as theirs\\x1b[31m: they stay as they are\n"


def archive(path, kind):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr({"up": "../outside.txt", "absolute": f"{path.parent}/outside.txt"}[kind], "x")
        return
    with tarfile.open(path, "w") as file:
        entry = tarfile.TarInfo({"up": "../outside.txt", "absolute": f"{path.parent}/outside.txt", "link": "x/outside.txt"}[kind])
        if kind == "link":
            way = tarfile.TarInfo("x")
            way.type, way.linkname = tarfile.SYMTYPE, ".."
            file.addfile(way)
        entry.size = 1
        file.addfile(entry, io.BytesIO(b"x"))


@pytest.mark.parametrize("name, kind", [("a.tar", "up"), ("a.tar", "absolute"), ("a.tar", "link"), ("a.zip", "up"), ("a.zip", "absolute")])
def test_archives_do_not_leave_their_folder(tmp_path, name, kind):
    from kagglehub.http_resolver import _extract_archive
    archive(tmp_path / name, kind)
    for extract in (torchvision.datasets.utils.extract_archive, _extract_archive):
        try:
            extract(str(tmp_path / name), str(tmp_path / "in"))
        except tarfile.FilterError:
            pass
        assert not (tmp_path / "outside.txt").exists() and {path.name for path in tmp_path.iterdir()} <= {name, "in"}


def test_a_copy_of_cifar10_that_is_not_the_original_is_not_unpickled_and_stays_as_it_is(tmp_path):
    folder = tmp_path / "copy" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Payload()))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="CIFAR10 in .*/copy is no whole copy .files are missing, damaged or changed.: fetch it again, or point DATASET"):
        open_dataset(str(tmp_path / "copy"), data=tmp_path / "data")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_copy_of_mnist_that_is_not_whole_is_not_fetched_into_the_folder(tmp_path):
    (tmp_path / "MNIST" / "processed").mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        torch.save(Payload(), tmp_path / "MNIST" / "processed" / name)
    with pytest.raises(ValueError, match="MNIST in .* is no whole copy"):
        open_dataset(str(tmp_path / "MNIST"), data=tmp_path / "data")
    assert not (tmp_path / "MNIST" / "raw").exists()
