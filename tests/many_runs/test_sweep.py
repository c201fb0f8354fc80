"""Tests of sweeps: inside/many_runs/sweep."""

import json
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest

from inside import files
from inside.cli.main import main
from inside.cli.profiles import read_profile
from inside.files import RunFolder, write_json
from inside.locks import hold
from inside.many_runs import list_runs
from inside.many_runs.compare import page as compare
from inside.many_runs.sweep import run as sweep
from inside.many_runs.sweep.processes import Processes, card_of, reason_in
from inside.many_runs.sweep.rows import LONGEST, Row, read_rows
from inside.many_runs.sweep.run import Sweep, check_sweep, run_sweep, summary
from inside.many_runs.sweep.threads import in_threads
from inside.names import check_run
from inside.selection.study import open_storage
from inside.text import errors_of
from shared.databases import database  # noqa: F401
from shared.processes import at_once, needs_fork

# a run that writes when it started and ended and on which cores and cards, fails for EPOCHS: 3 until `mended` is there, and takes `pause` seconds
FAKE = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1]).parent
given, start = Path(sys.argv[1]).read_text(), time.time()
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
with open(folder.parent / "started", "a") as file:
    file.write(folder.name + "\\n")
time.sleep(float((folder.parent / "pause").read_text()) if (folder.parent / "pause").exists() else 0)
if "EPOCHS: 3" in given and not (folder.parent / "mended").exists():
    sys.exit("error: a cell of the notebook failed: ValueError: EPOCHS is three")
scores = {"mean_class_accuracy": 0.75, "mean_average_precision": 0.5}
(folder / "01_results.json").write_text(json.dumps({"notebook_seconds": 2.04, "val": scores, "test": scores}))
(folder / "run.json").write_text("{}")
cards = os.environ.get("CUDA_VISIBLE_DEVICES")
(folder / "report.html").write_text(json.dumps([start, time.time(), cores, sys.argv[2:], cards]))
"""


@pytest.fixture(autouse=True)
def compared(monkeypatch):
    """The folders of which a page was asked for; it is not made."""
    asked = []
    monkeypatch.setattr(compare, "compare_runs", lambda folders, target: asked.append(folders) or target)
    return asked


def table(folder, text, name="table.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def made(folder, text="SEED\n0 1 2\n", **given):
    """A sweep in a folder, and the command of its runs."""
    (folder / "fake.py").write_text(FAKE)
    rows = read_rows(table(folder, text))
    return Sweep(folder / "sweep", rows, {"SEED": 0, "SPLIT_SEED": 0} | given, ["01"]), [sys.executable, str(folder / "fake.py")]


def started(plan):
    file = plan.folder / "started"
    return file.read_text().split() if file.exists() else []


@pytest.mark.parametrize("name, text", [
    ("table.csv", "EPOCHS,SEED,SPLIT,STRATEGY\n4,0 1,\"[0.6, 0.2, 0.2]\",head\n\n,,,\n5,\"[2, 3]\",,\n1e1,, ,full\n"),
    ("table.csv", "\ufeffEPOCHS;SEED;SPLIT;STRATEGY\r\n4;0  1;[0.6, 0.2, 0.2];head\r\n5;[2, 3]\r\n1e1;;;full\r\n"),
    ("table.yaml", "- {EPOCHS: 4, SEED: [0, 1], SPLIT: [0.6, 0.2, 0.2], STRATEGY: head}\n- EPOCHS: 5\n  SEED: 2 3\n- {EPOCHS: 10, STRATEGY: full}\n")])
def test_each_row_is_a_run_and_each_seed_too(tmp_path, name, text):
    text = text.replace("1e1", "10")
    rows = read_rows(table(tmp_path, text, name))
    first = {"EPOCHS": 4, "SPLIT": [0.6, 0.2, 0.2], "STRATEGY": "head"}
    assert [(row.number, row.changes) for row in rows] == [
        (1, first | {"SEED": 0}), (1, first | {"SEED": 1}), (2, {"EPOCHS": 5, "SEED": 2}), (2, {"EPOCHS": 5, "SEED": 3}),
        (3, {"EPOCHS": 10, "STRATEGY": "full"})]


def test_the_name_of_a_row_says_what_it_changes(tmp_path):
    one = read_rows(table(tmp_path, "SEED,LEARNING_RATE\n1 2,1e-3\n1,\n"))
    other = read_rows(table(tmp_path, "LEARNING_RATE,EPOCHS,SEED\n,7,3\n0.001,,2\n,,1\n,,\n"))
    assert [row.name for row in one] == ["learning_rate-0.001+seed-1", "learning_rate-0.001+seed-2", "seed-1"]
    assert [row.name for row in other[:3]] == ["epochs-7+seed-3", "learning_rate-0.001+seed-2", "seed-1"]
    assert Row(1, {}).name == "unchanged"
    hostile = ["a/b", "a_b", "..", "-x", "=1+1", "\x1b[31m", "x" * 900, "x" * 901, "夏" * 300, "<b>", "a b", "\u202e", "C:\\x", "con"]
    names = [Row(1, {"DATASET": value, "LAYERS": ["a"] * n, "SEED": 2**31 - 1}).name for value in hostile for n in (0, 90)]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        check_run(name)
        assert len(name) <= LONGEST and "/" not in name and "\\" not in name and name[0].isalpha() and name.isprintable()


WRONG = [
    ("t.csv", "EPOCHS,EPOCS,STRATEGY\n0,3,full\n4,,heads\n5,,full\n", ["No notebook has a parameter 'EPOCS'", "row 1: EPOCHS = 0 is not", "row 2: STRATEGY = 'heads' is not"]),
    ("t.csv", "EPOCHS,SEED\n0,0 1\n0,3\n", ["every row: EPOCHS = 0"]), ("t.csv", "EPOCHS\n0\n0\n1\n", ["rows 1 and 2: EPOCHS = 0"]),
    ("t.csv", "EPOCHS,EPOCHS\n1,2\n", ["has the column 'EPOCHS' twice"]), ("t.csv", "SPLIT\n0.6,0.2,0.2\n", ["row 1: it has more cells than the table has columns, 1: put"]),
    ("t.csv", "RUN\nmine\n", ["row 1: RUN cannot be changed"]), ("t.csv", "", ["has no rows"]), ("t.csv", "EPOCHS\n\n", ["has no rows"]),
    ("t.csv", "SEED\n-1\n", ["row 1: SEED = -1"]), ("t.csv", "SEED\n\"[0, 'a']\"\n", ["row 1: SEED = 'a'"]), ("t.csv", "SEED\n[]\n", ["row 1: SEED = \\[\\]"]),
    ("t.csv", "EPOCHS\n4\n010\n4\n", ["row 2: EPOCHS = '010'"]), ("t.csv", "EPOCHS,SEED\n4,0 1\n4,1\n", ["row 2: it changes the same as row 1: epochs-4\\+seed-1"]),
    ("t.csv", "EPOCHS\n\"4\n", ["t.csv cannot be read: "]), ("t.csv", "SEED\n" + "1" * 200_000, ["bytes, more than 100,000"]),
    ("t.csv", "SEED,\x1b[2J\x1b]0;x\x07\n1,2\n", ["No notebook has a parameter '.x1b"]), ("t.csv", "LEARNING_RATE\n" + "\n".join(f"0.{n:04d}" for n in range(1, 1200)), ["1,199 runs; a sweep has at most 1,000"]),
    ("t.yaml", "- EPOCHS: 0\n- 3\n- {EPOCS: 1}\n", ["row 2: it is 3: expected", "row 3: No notebook has a parameter 'EPOCS'", "row 1: EPOCHS = 0"]),
    ("t.yaml", "text", ["contains no list of changed parameters"]), ("t.yaml", "- &a {EPOCHS: 1}\n- *a\n", ["cannot be read: line 2: the alias"]),
    ("t.yaml", "- !!python/object/apply:os.system [ls]\n", ["there is no tag"]), ("t.yaml", "[]", ["has no rows"])]


@pytest.mark.parametrize("name, text, told", WRONG)
def test_all_that_is_wrong_in_a_table_is_told_by_row(tmp_path, name, text, told):
    found = errors_of(read_rows, table(tmp_path, text, name))
    assert len(found) == len(told), found
    for sentence, wanted in zip(found, told, strict=True):
        assert re.search(wanted, sentence) and "\n" not in sentence and len(sentence) < 700


def test_a_table_that_is_not_there_or_no_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"EPOCHS\n\xff\xfe\n")
    with pytest.raises(ValueError, match="t.csv cannot be read: it is not UTF-8 text"):
        read_rows(tmp_path / "t.csv")
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ValueError, match="There is no file .*: give a CSV or YAML file"):
            read_rows(path)


SMALL = {"ARCHITECTURE": "convnet_gap", "WEIGHTS": "random", "IMAGE_SIZE": "32", "BATCH_SIZE": "16"}


def words(folder, text, *more, **changes):
    return ["sweep", "demo", str(table(folder, text)), "--only", "01", "--name", str(folder / "sweep"),
            *(word for name, value in (SMALL | changes).items() for word in ("-p", name, value)), *more]


def test_all_rows_are_checked_before_the_first_starts(tmp_path, capsys):
    """Names and values first, with nothing heavy loaded; then whether they fit together."""
    assert main(words(tmp_path, "EPOCHS\n0\n4\n", "-p", "EPOCS", "3")) == 2
    told = capsys.readouterr().err
    assert "2 things are wrong" in told and "- No notebook has a parameter 'EPOCS'" in told and "- row 1: EPOCHS = 0" in told
    rows = "ARCHITECTURE,DATASET,SEED\nresnet500,,\n,,0 1 2\n,no/such/folder,5\n,no/such/folder,6\n"
    assert main(words(tmp_path, rows, "--storage", "postgresql+psycopg://127.0.0.1:9/db")) == 2
    told = capsys.readouterr().err
    assert "row 1: ARCHITECTURE = 'resnet500'" in told and "row 2" not in told and "rows 3 and 4: DATASET = 'no/such/folder'" in told
    assert "--storage = 'postgresql+psycopg://127.0.0.1:9/db': no database answers" in told and not (tmp_path / "sweep").exists()


def test_the_room_for_all_rows_is_checked_before_the_first_starts(tmp_path, capsys, monkeypatch):
    """Each of them would fit; the images that they share count once."""
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=500e6))
    assert main(words(tmp_path, f"SEED\n{' '.join(map(str, range(40)))}\n")) == 2
    told = capsys.readouterr().err
    assert re.search(r"^error: The sweep needs about [\d.]+ GB \(figures, notebooks and report 1.0 GB, drawn images 11 MB, .*, but only 500 MB are free "
                     r"on the disk of .*: make room, or choose another --name\.$", told) and not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("more, told", [(["--jobs", "0"], "--jobs takes"), (["-p", "RUN", "x"], "leave out -p RUN"), (["--only", "07"], "no such notebook"), (["--storage", "sqlite:///a"], "--storage = 'sqlite:///a': SQLite breaks"),
                                        (["--name", "a b"], "RUN = 'a b' is not valid")])
def test_wrong_options_of_a_sweep(tmp_path, capsys, more, told):
    try:
        assert main([*words(tmp_path, "SEED\n0 1\n"), *more]) == 2
    except SystemExit as end:
        assert end.code == 2
    assert told in capsys.readouterr().err and not (tmp_path / "sweep").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals")
def test_a_sweep_that_is_ended_ends_its_rows(tmp_path, monkeypatch):
    """SIGTERM and SIGHUP are as Ctrl-C while it runs; not under nohup, nor afterwards."""
    heeded, names = [], (signal.SIGTERM, signal.SIGHUP)
    monkeypatch.setattr(sweep, "check_sweep", lambda *_: None)
    monkeypatch.setattr(sweep, "run_sweep", lambda *_, **options: heeded.append(list(map(signal.getsignal, names))) or True)
    before = list(map(signal.getsignal, names))
    try:
        for hung_up in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(signal.SIGHUP, hung_up)
            assert main(words(tmp_path, "SEED\n0\n")) == 0
            assert list(map(signal.getsignal, names)) == [before[0], hung_up]
        assert heeded == [[signal.default_int_handler] * 2, [signal.default_int_handler, signal.SIG_IGN]]
    finally:
        signal.signal(signal.SIGHUP, before[1])


def test_rows_that_differ_in_their_seeds_are_checked_once(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sweep, "check", lambda settings, numbers: asked.append((settings["SEED"], settings.get("EPOCHS"), tuple(numbers))))
    monkeypatch.setattr(sweep, "needs", lambda *_: [])
    plan, _ = made(tmp_path, "EPOCHS,SEED\n1,0 1 2\n2,0 1\n")
    check_sweep(plan, {})
    assert asked == [(0, 1, ("01",)), (0, 2, ("01",))]


def test_a_journal_that_is_something_else_stays_as_it_is(tmp_path):
    plan, command = made(tmp_path)
    (tmp_path / "other.txt").write_text("mine\n")
    with pytest.raises(ValueError, match="other.txt is no journal .* give --storage another"):
        run_sweep(plan, command, storage=str(tmp_path / "other.txt"))
    assert (tmp_path / "other.txt").read_text() == "mine\n" and started(plan) == []


def test_a_run_is_no_sweep(tmp_path):
    plan, _ = made(tmp_path)
    plan.folder.mkdir()
    write_json(plan.folder / "run.json", {})
    with pytest.raises(ValueError, match="sweep is a run: give the sweep another --name"):
        check_sweep(plan, {})


@pytest.mark.parametrize("text, given, seeds", [
    ("SEED\n0 1\n", [], [0, 0]), ("SEED\n0 1\n", ["-p", "SEED", "7"], [7, 7]), ("SEED\n4 5\n", ["-p", "SPLIT_SEED", "3"], [3, 3]),
    ("SEED,SPLIT_SEED\n4 5,\n6,9\n7,auto\n", [], [0, 0, 9, "auto"])])
def test_all_rows_have_the_same_split_unless_it_is_a_column(tmp_path, monkeypatch, text, given, seeds):
    plans = []
    monkeypatch.setattr(sweep, "check_sweep", lambda plan, *_: None)
    monkeypatch.setattr(sweep, "run_sweep", lambda plan, *_, **options: plans.append((plan, options)) or True)
    assert main([*words(tmp_path, text, *given), "--jobs", "3"]) == 0
    (plan, options), = plans
    assert [plan.parameters(row)["SPLIT_SEED"] for row in plan.rows] == seeds and options == {"jobs": 3, "storage": ""}
    assert {name: plan.parameters(plan.rows[0])[name] for name in ("ARCHITECTURE", "IMAGE_SIZE")} == {"ARCHITECTURE": "convnet_gap", "IMAGE_SIZE": 32}
    assert plan.numbers == ["01"] and plan.parameters(plan.rows[0])["RUN"] == str(tmp_path / "sweep" / plan.rows[0].name)


def test_a_failure_is_told_and_the_same_command_goes_on(tmp_path, capsys, compared):
    plan, command = made(tmp_path, "EPOCHS,SEED\n1,0 1\n3,\n2,\n", LAYERS=["a"], DATASET="a: 1e-3 # ö\u2028")
    assert run_sweep(plan, command, poll=0.02) is False
    told = capsys.readouterr().out.splitlines()
    assert started(plan) == ["epochs-1+seed-0", "epochs-1+seed-1", "epochs-3", "epochs-2"]
    assert told[0].startswith("sweep sweep: 4 rows in ") and "finished before" not in told[0]
    assert any(re.fullmatch(r"row 1, epochs-1\+seed-0: done in \d+ s, test accuracy 0.750 · 1 done, 0 failed, 3 left, about \d+ s", line) for line in told)
    assert "failed: row 2, epochs-3: a cell of the notebook failed: ValueError: EPOCHS is three" in told
    found = pd.read_csv(plan.folder / "summary.csv").set_index("run")
    assert found["state"].to_dict() == {"epochs-1+seed-0": "finished", "epochs-1+seed-1": "finished", "epochs-3": "failed", "epochs-2": "finished"}
    assert found.loc["epochs-2", ["EPOCHS", "seconds", "val accuracy", "test mAP"]].tolist() == [2, 2, 0.75, 0.5] and pd.isna(found.loc["epochs-3", "test mAP"])
    assert compared == [[plan.run_of(row).folder for row in plan.rows if row.name != "epochs-3"]]
    profile = read_profile(str(plan.run_of(plan.rows[0]).path("parameters.yaml")))  # run.py repeats the row with it
    assert profile == plan.parameters(plan.rows[0]) and profile["DATASET"] == "a: 1e-3 # ö\u2028"

    (plan.folder / "mended").touch()
    assert run_sweep(plan, command, poll=0.02) is True
    assert started(plan)[4:] == ["epochs-3"] and ", 3 of them finished before" in capsys.readouterr().out
    assert run_sweep(plan, command, poll=0.02) is True and len(started(plan)) == 5
    plan.run_of(plan.rows[0]).path("report.html").unlink()  # it is run again
    more = Sweep(plan.folder, [*plan.rows, Row(4, {"EPOCHS": 9})], plan.given, plan.numbers)
    assert run_sweep(more, command, poll=0.02) is True and started(plan)[5:] == ["epochs-1+seed-0", "epochs-9"]
    again = Sweep(plan.folder, plan.rows, plan.given | {"BATCH_SIZE": 8}, plan.numbers)
    whole = Sweep(plan.folder, plan.rows, plan.given, ["01", "02", "03"])
    assert not any(map(again.is_finished, again.rows)) and not any(map(whole.is_finished, whole.rows)) and all(map(more.is_finished, more.rows))


def test_several_at_once_share_the_cores_and_cards(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    plan, command = made(tmp_path, "SEED\n0 1 2 3\n")
    plan.folder.mkdir()
    (plan.folder / "pause").write_text("0.4")
    assert run_sweep(plan, command, jobs=2, poll=0.02) is True
    spans = sorted(json.loads(plan.run_of(row).path("report.html").read_text()) for row in plan.rows)
    assert sorted(started(plan)) == sorted(row.name for row in plan.rows)
    assert spans[1][0] < spans[0][1] and spans[2][0] > min(spans[0][1], spans[1][1])  # two at once, no third
    assert all(span[3] == ["--only", "01"] for span in spans) and {span[4] for span in spans[:2]} == {"0", "1"}
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1:
        assert not set(spans[0][2]) & set(spans[1][2]) and set(spans[0][2]) | set(spans[1][2]) == os.sched_getaffinity(0)


def test_a_row_waits_for_a_run_that_has_outlived_its_sweep(tmp_path):
    plan, command = made(tmp_path, "SEED\n0\n")
    folder, ended = plan.run_of(plan.rows[0], make=True).folder, []

    def outlive():
        lock = hold(folder, "run")
        time.sleep(0.7)
        ended.append(started(plan))
        lock.release()
    thread = threading.Thread(target=outlive)
    thread.start()
    while not (folder / ".locks" / "run.json").exists():
        time.sleep(0.01)
    assert run_sweep(plan, command, poll=0.02) is True and started(plan) == ["seed-0"] and ended == [[]]


def forked(plan, command):
    """A process that runs a sweep, two rows at once, and the numbers of the processes of its rows, which go on for a minute."""
    plan.folder.mkdir()
    (plan.folder / "pause").write_text("60")

    process = multiprocessing.get_context("fork").Process(
        target=run_sweep, args=(plan, command), kwargs={"jobs": 2, "poll": 0.05})
    process.start()
    while len(started(plan)) < 2:
        time.sleep(0.05)
    (plan.folder / "pause").write_text("0")
    return process, [child.pid for child in psutil.Process(process.pid).children()]


@needs_fork
def test_ctrl_c_ends_all_rows_and_the_same_command_runs_them_again(tmp_path):
    plan, command = made(tmp_path, "SEED\n0 1 2\n")
    process, children = forked(plan, command)
    begin = time.time()
    os.kill(process.pid, signal.SIGINT)
    process.join(20)
    assert process.exitcode == 1 and time.time() - begin < 10 and len(children) == 2  # 5 s on an idle machine
    assert not any(map(psutil.pid_exists, children))
    assert [trial.state.name for trial in study_of(plan).get_trials()] == ["WAITING"] * 2
    assert run_sweep(plan, command, poll=0.02) is True
    assert sorted(started(plan)) == ["seed-0", "seed-0", "seed-1", "seed-1", "seed-2"]


@pytest.mark.skipif(os.name != "posix", reason="sends itself a signal")
@pytest.mark.parametrize("after", [0.1, 0.3])
def test_ctrl_c_waits_until_all_is_given_back_and_cuts_off_no_read(after):
    stopped, given_back, reads, before = threading.Event(), [], [], signal.signal(signal.SIGINT, signal.default_int_handler)

    def work(number):
        stopped.wait(20)
        time.sleep(0.3)
        given_back.append(number)

    def read():
        reads.append("begun")
        time.sleep(0.05)
        reads[-1] = "ended"
    threading.Timer(after, os.kill, [os.getpid(), signal.SIGINT]).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            in_threads(work, 3, meanwhile=read, stop=stopped.set, poll=0.01)
    finally:
        signal.signal(signal.SIGINT, before)
    assert sorted(given_back) == [0, 1, 2] and set(reads) == {"ended"}


@needs_fork
def test_a_row_whose_sweep_was_killed_is_run_by_another(tmp_path):
    plan, command = made(tmp_path, "SEED\n0 1 2\n")
    process, children = forked(plan, command)
    for killed in (process.pid, *children):
        os.kill(killed, signal.SIGKILL)
    process.join()
    assert run_sweep(plan, command, poll=0.05) is True
    assert sorted(started(plan)) == ["seed-0", "seed-0", "seed-1", "seed-1", "seed-2"] and len(study_of(plan).get_trials()) == 3


def study_of(plan, storage=""):
    import optuna
    opened = open_storage(storage, plan.folder / "study.log")
    (name,) = [study.study_name for study in opened.get_all_studies() if study.study_name.startswith("sweep ")]
    return optuna.load_study(storage=opened, study_name=name)


@needs_fork
@pytest.mark.parametrize("storage", ["file", "database"])
def test_two_processes_share_the_rows(tmp_path, storage, request):
    """Each row is run once, by one of them; both wait for the last."""
    plan, command = made(tmp_path, "SEED\n0 1 2 3 4 5\n")
    plan.folder.mkdir()
    (plan.folder / "pause").write_text("0.1")
    shared = "" if storage == "file" else request.getfixturevalue("database")
    assert at_once(lambda number: run_sweep(plan, command, storage=shared, poll=0.05), 2) == [True, True]
    assert sorted(started(plan)) == sorted(row.name for row in plan.rows)
    trials = study_of(plan, shared).get_trials()[:6]  # one more may have been asked for, and waits for a longer sweep
    assert [trial.user_attrs["row"] for trial in trials] == [row.name for row in plan.rows]
    assert len({trial.user_attrs["worker"][0] for trial in trials}) == 2


@pytest.mark.parametrize("text, status, reason", [
    ("error: it is wrong\nmore", 1, "it is wrong"), ("error: old\nerror: 2 things are wrong:\n- a\n- b\nend", 2, "2 things are wrong: - a - b"),
    ("Traceback\nKeyError: 'x'\n", 1, "KeyError: 'x'"), ("", 1, "run.py ended with status 1"), ("error: x", -9, "its process was ended by signal 9"),
    ("error: " + "x" * 2000, 1, "x" * 500), ("error: \xff\n", 1, "\xff")])
def test_why_a_row_failed(tmp_path, text, status, reason):
    log = tmp_path / "output.log"
    log.write_text("error: of the time before\n" + text, encoding="utf-8")
    assert reason_in(log, len("error: of the time before\n"), status) == reason


def test_a_stopped_runner_starts_nothing(tmp_path):
    plan, command = made(tmp_path)
    processes = Processes(command, 1)
    processes.stop()
    with pytest.raises(SystemExit):
        processes.run(plan.run_of(plan.rows[0], make=True), {}, ["01"], 0)
    assert started(plan) == []


def test_text_in_the_summary_is_no_formula_and_the_terminal_is_not_coloured(tmp_path, capsys):
    plan, command = made(tmp_path, "DATASET\n=1+1\n")
    assert run_sweep(plan, command, poll=0.02) is True
    assert "\n'" not in capsys.readouterr().out and ",'=1+1," in (plan.folder / "summary.csv").read_text()
    assert summary(plan, {})["DATASET"].tolist() == ["=1+1"]


def test_runs_lists_the_rows_of_sweeps(tmp_path, monkeypatch):
    for path in ("alone", "sweep/seed-0", "sweep/seed-1", "sweep/.removed-x", "alone/inner"):
        (tmp_path / path).mkdir(parents=True)
        write_json(tmp_path / path / "run.json", {})
    monkeypatch.setattr(files, "RUNS", tmp_path)
    assert sorted(list_runs()["run"]) == sorted(["alone", str(tmp_path / "sweep" / "seed-0"), str(tmp_path / "sweep" / "seed-1")])
    assert RunFolder(str(tmp_path / "sweep" / "seed-0"), make=False).folder == tmp_path / "sweep" / "seed-0"


@pytest.mark.parametrize("visible, cards, slots", [(None, 0, [None] * 3), (None, 1, [None] * 3), (None, 2, ["0", "1", "0"]), ("3,5", 2, ["3", "5", "3"]),
                                                   ("4", 1, [None] * 3)])
def test_the_card_of_a_row(monkeypatch, visible, cards, slots):
    monkeypatch.setattr("torch.cuda.device_count", lambda: cards)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible) if visible else monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [card_of(slot).get("CUDA_VISIBLE_DEVICES") for slot in range(3)] == slots
