"""make soak: each parameter changes in a whole run what it must change."""

import pytest

from inside.cli.main import main
from shared.effects import EFFECTS
from shared.kernels import forked_kernels  # noqa: F401
from shared.whole_runs import arguments, results


@pytest.mark.parametrize("changes, effect", EFFECTS, ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
def test_each_parameter_has_its_effect(finished, flawed, tmp_path, changes, effect):
    folder = tmp_path / "run"
    changes = {name: str(value).replace("<folder>", str(folder)) for name, value in changes.items()}
    (tmp_path / "run.csv").write_text("path\nsea/00003.jpg\n")
    assert main(arguments(folder, flawed, **changes)) == 0
    assert effect(results(folder), results(finished) | {"folder": finished}, folder)
