"""Tests of inside/models/counting.py."""

import pytest

from inside.models.counting import convnet5_costs, convnet5_table, describe_convnet5, options_table
from inside.models.scratch import legal_options
from inside.models.surgery import count_costs
from shared.networks import build


@pytest.mark.parametrize("options", [
    {}, {"organisation": "const", "filters": 7}, {"organisation": "half", "filters": 32}, {"filters": [3, 5, 4, 6, 2]},
    {"kernel_size": 5, "batch_norm": False}, {"kernel_size": [7, 5, 3, 2, 1]}, {"in_channels": 1, "dense": 9, "dropout": 0.0}])
@pytest.mark.parametrize("image_size", [8, 33, 64])
def test_formulas_are_what_is_counted(options, image_size):
    model = build("convnet5", 5, image_size, **options)
    counted = count_costs(model, image_size, model.in_channels)
    assert convnet5_costs(5, image_size, **options) == {name: counted[name] for name in ("parameters", "macs")}


def test_formula_at_a_known_answer():
    """Worked out on paper: 32×32 gray images, 2 filters of 3×3 in each block, 4 dense neurons, 3 classes."""
    options = {"in_channels": 1, "filters": 2, "organisation": "const", "dense": 4, "batch_norm": False}
    parameters = (9 * 1 + 1) * 2 + 4 * (9 * 2 + 1) * 2 + (1 * 2 + 1) * 4 + (4 + 1) * 3
    macs = 32 ** 2 * 9 * 2 + (16 ** 2 + 8 ** 2 + 4 ** 2 + 2 ** 2) * 9 * 4 + 2 * 4 + 4 * 3
    assert convnet5_costs(3, 32, **options) == {"parameters": parameters, "macs": macs}


def test_the_table_counts_what_the_formulas_say_and_has_a_row_for_a_network_of_the_run():
    table = convnet5_table(3, 40, {"filters": [4, 5, 6, 7, 8], "in_channels": 1})
    assert (table["P: formula"] == table["P: counted"]).all() and (table["M: formula"] == table["M: counted"]).all()
    assert len(table) == len(convnet5_table(3, 40)) + 1 and table["m"].iloc[-1] == "[4, 5, 6, 7, 8]"
    assert table["share of P in the dense layer"].iloc[0] == pytest.approx((2 * 2 * 16 + 1) * 64 / table["P: counted"].iloc[0])
    assert describe_convnet5(table).startswith(f"Formula and count agree in 5 of 5 networks; the dense layer holds from {table.iloc[:, -1].min():.0%} to ")
    assert "agree in 4 of 5 networks" in describe_convnet5(table.assign(**{"M: counted": [1, *table["M: counted"][1:]]}))


def test_the_options_are_those_that_are_legal():
    table = options_table("convnet5")
    assert dict(zip(table["option"], table["default"], strict=True)) == {key: str(value) for key, value in legal_options("convnet5").items()}
