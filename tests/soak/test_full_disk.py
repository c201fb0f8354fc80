"""make soak: what a user sees when the disk fills up, or the run folder goes, in the middle of a run; then the same command."""

import subprocess
from contextlib import suppress

import pytest

from shared.kills import differences, finish, start, wait_for

MOMENTS = ["run folder", "trial 1", "epoch  2", "22 images checked", "== 02", "own images: 12", "== 03"]


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory):
    """The folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(start(folder, scenes))
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 400 MB in memory."""
    tmp_path.joinpath("disk").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", tmp_path / "disk"], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    yield tmp_path / "disk"
    subprocess.run(["umount", "--lazy", tmp_path / "disk"], check=True)


def failed(process, words):
    """The lines of a run that must fail in words of its own."""
    told, _ = process.communicate(timeout=300)
    print(*[line for line in told.splitlines() if line.startswith("error:")], flush=True)
    assert process.returncode == 1 and "Traceback" not in told and words in told.split("error:")[-1].splitlines()[0], told[-3000:]


def fill(disk):
    """Leave no room on a disk."""
    with open(disk / "filler", "ab", buffering=0) as file:
        for block in (2**20, 2**12):
            with suppress(OSError):
                while file.write(bytes(block)) == block:
                    pass
    return disk / "filler"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_disk_that_fills_up(whole, scenes, small_disk, moment):
    process = start(small_disk / "run", scenes)
    wait_for(small_disk / "run", moment, process)
    filler = fill(small_disk)
    failed(process, "because the disk is full: make room, and the same command goes on from there")
    filler.unlink()
    finish(start(small_disk / "run", scenes))
    assert differences(whole, small_disk / "run") == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_folder_that_is_removed(whole, scenes, tmp_path, moment):
    process = start(tmp_path / "run", scenes)
    wait_for(tmp_path / "run", moment, process)
    (tmp_path / "run").rename(tmp_path / "away")
    failed(process, "because its folder is gone: the same command makes it again")
    finish(start(tmp_path / "run", scenes))
    assert differences(whole, tmp_path / "run") == []
