"""make soak: SIGKILL at 20 random moments of a whole run, each followed by the same command."""

import random
import time

from shared.kills import differences, finish, kill, phase, start

MOMENTS = 20


def test_kills_at_random_moments_change_nothing(scenes, tmp_path, capsys):
    whole, began = tmp_path / "whole", time.time()
    finish(start(whole, scenes))
    seconds, rng, rows = time.time() - began, random.Random(0), []
    for number in range(MOMENTS):
        folder, moment = tmp_path / f"killed-{number}", (number + rng.random()) / MOMENTS * seconds
        process = start(folder, scenes)
        time.sleep(moment)
        kill(process)
        reached = phase(folder)
        finish(start(folder, scenes))
        rows.append((moment, reached, differences(whole, folder)))
        with capsys.disabled():
            print(f"killed after {moment:5.1f} of {seconds:.0f} s, at “{reached}”: {rows[-1][2] or 'the same'}", flush=True)
    assert not [row for row in rows if row[2]]
