"""make soak: a whole run that is killed, or stopped with Ctrl-C, at random moments, each time followed by the same command."""

import random
import time

import pytest

from shared.kills import differences, finish, kill, phase, progress, start, stop

MOMENTS = 20


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory):
    """The folder of an undisturbed run, and when it had come how far: (seconds, what `progress` tells), anew at each step."""
    folder, began, steps = tmp_path_factory.mktemp("whole") / "run", time.time(), [(0.0, 0)]
    process = start(folder, scenes)
    while process.poll() is None:
        if (now := progress(folder)) > steps[-1][1]:
            steps.append((time.time() - began, now))
        time.sleep(0.05)
    finish(process)
    assert len(steps) > 50
    return folder, [*steps, (time.time() - began, steps[-1][1])]


def random_moments(steps, count):
    """(how far, seconds after that), one in each of `count` equal parts of a run: the same place in it on a busy machine."""
    rng, seconds = random.Random(0), steps[-1][0]
    for number in range(count):
        moment = (number + rng.random()) / count * seconds
        reached = max(step for step in steps if step[0] <= moment)
        yield reached[1], moment - reached[0]


def wait_until(process, folder, reached, seconds):
    """Wait until a run has come so far, and for so many seconds then, unless it has ended before."""
    while process.poll() is None and progress(folder) < reached:
        time.sleep(0.02)
    time.sleep(seconds)


def tell(reached, seconds, phase, outcome):
    """One row of the table that `make soak` prints."""
    print(f"step {reached:3d} + {seconds:4.1f} s  {phase:<62} {outcome}", flush=True)


def test_kills_at_random_moments_change_nothing(whole, scenes, tmp_path):
    outcomes, phases = [], set()
    for number, moment in enumerate(random_moments(whole[1], MOMENTS)):
        process = start(folder := tmp_path / f"killed-{number}", scenes)
        wait_until(process, folder, *moment)
        kill(process)
        reached = phase(folder)
        finish(start(folder, scenes))
        outcomes.append(differences(whole[0], folder))
        phases.add(reached)
        tell(*moment, reached, f"other: {outcomes[-1]}" if outcomes[-1] else "the same results, tables and weights")
    assert outcomes == [[]] * MOMENTS and len(phases) > MOMENTS / 3


def test_ctrl_c_at_random_moments_ends_within_five_seconds_in_one_line(whole, scenes, tmp_path):
    wrong = []
    for number, moment in enumerate(random_moments(whole[1], MOMENTS // 2)):
        process = start(folder := tmp_path / f"stopped-{number}", scenes)
        wait_until(process, folder, *moment)
        if process.poll() is None:
            seconds, problems = stop(process)
            wrong += problems
            tell(*moment, phase(folder), "; ".join(problems) or f"ended after {seconds:.1f} s")
    finish(start(folder, scenes))
    assert not wrong and differences(whole[0], folder) == []
