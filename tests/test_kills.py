"""A run that is killed or stopped goes on with the same command, to the same results; the long form is `make soak`."""

from inside.cli.main import main
from shared.kernels import forked_kernels  # noqa: F401
from shared.kills import differences, kill, start_run, stop, wait_for
from shared.whole_runs import arguments


def test_a_killed_run_goes_on_to_the_same_results(finished, flawed, tmp_path):
    folder = tmp_path / "run"
    process = start_run(*arguments(folder, flawed))
    wait_for(folder, "epoch  1", process)
    kill(process)
    assert not (folder / "01_split_and_classify.ipynb").exists() and not (folder / "report.html").exists()
    assert main(arguments(folder, flawed)) == 0
    assert differences(finished, folder) == []


def test_ctrl_c_ends_a_run_at_once_and_a_second_run_is_told_who_has_the_folder(flawed, tmp_path, capsys):
    folder = tmp_path / "run"
    process = start_run(*arguments(folder, flawed, EPOCHS=200, SEARCH_TRIALS=0, NEAR_DUPLICATES="off", LABEL_ISSUES=False))
    wait_for(folder, "epoch  2", process)
    assert main(arguments(folder, flawed)) == 2
    told = capsys.readouterr().err
    assert f"is in use by process {process.pid} on " in told and "run.py demo" in told and "since 20" in told
    assert stop(process)[1] == []
    assert not [path.name for path in folder.glob("*.ipynb")] and not list(folder.glob(".*.ipynb"))
