"""A run that is killed or stopped goes on with the same command, to the same results; the long form is `make soak`."""

import pytest

from shared.kills import differences, finish, kill, start, stop, wait_for


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory):
    """The folder of an undisturbed run of notebook 01, under a name that is hard on a command line."""
    folder = tmp_path_factory.mktemp("whole") / ("ein {Lauf} 'für' $HOME %d 🌲 " + "x" * 160)
    finish(start(folder, scenes, "--only", "01"))
    return folder


@pytest.mark.parametrize("moment", ["epoch  2"])
def test_a_killed_run_goes_on_to_the_same_results(whole, scenes, tmp_path, moment):
    folder = tmp_path / "run"
    process = start(folder, scenes, "--only", "01")
    wait_for(folder, moment, process)
    kill(process)
    assert not (folder / "01_split_and_classify.ipynb").exists() and not (folder / "report.html").exists()
    finish(start(folder, scenes, "--only", "01"))
    assert differences(whole, folder) == []


def test_ctrl_c_ends_a_run_at_once_and_a_second_run_is_told_who_has_the_folder(scenes, tmp_path):
    folder = tmp_path / "run"
    process = start(folder, scenes, "--only", "01", "-p", "EPOCHS", "200")
    wait_for(folder, "epoch  2", process)
    second = start(folder, scenes, "--only", "01")
    told, _ = second.communicate(timeout=60)
    assert second.returncode == 2 and f"is in use by process {process.pid} on " in told and "run.py demo" in told and "since 20" in told
    assert stop(process)[1] == []
    assert not [path.name for path in folder.glob("*.ipynb")] and not list(folder.glob(".*.ipynb"))
