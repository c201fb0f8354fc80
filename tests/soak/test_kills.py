"""make soak: a whole run that is killed, or stopped with Ctrl-C, at random moments, each time followed by the same command."""

import random
import time

import pytest

from shared.kills import differences, finish, kill, phase, start, stop

MOMENTS = 20


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory):
    """The folder of an undisturbed run, and its seconds."""
    folder, began = tmp_path_factory.mktemp("whole") / "run", time.time()
    finish(start(folder, scenes))
    return folder, time.time() - began


def moments(seconds, count, *, first=0.0):
    """Random moments of a run, one in each of `count` equal parts of it."""
    rng = random.Random(0)
    return [first + (number + rng.random()) / count * (seconds - first) for number in range(count)]


def tell(moment, reached, outcome):
    """One row of the table that `make soak` prints."""
    print(f"{moment:6.1f} s  {reached:<62} {outcome}", flush=True)


def test_kills_at_random_moments_change_nothing(whole, scenes, tmp_path):
    outcomes = []
    for number, moment in enumerate(moments(whole[1], MOMENTS)):
        process = start(folder := tmp_path / f"killed-{number}", scenes)
        time.sleep(moment)
        kill(process)
        reached = phase(folder)
        finish(start(folder, scenes))
        outcomes.append(differences(whole[0], folder))
        tell(moment, reached, f"other: {outcomes[-1]}" if outcomes[-1] else "the same results, tables and weights")
    assert outcomes == [[]] * MOMENTS


def test_ctrl_c_at_random_moments_ends_within_five_seconds_in_one_line(whole, scenes, tmp_path):
    folder, wrong = tmp_path / "stopped", []
    for moment in moments(whole[1], MOMENTS // 2, first=0.5):
        process = start(folder, scenes)
        time.sleep(moment)
        if process.poll() is None:
            seconds, problems = stop(process)
            wrong += problems
            tell(moment, phase(folder), "; ".join(problems) or f"ended after {seconds:.1f} s")
        else:
            tell(moment, phase(folder), "had ended before")
    finish(start(folder, scenes))
    assert not wrong and differences(whole[0], folder) == []
