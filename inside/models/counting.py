"""The cost of a ConvNet5, by formula and as counted in the built network; notebook 01 compares the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from inside.models.scratch import _for_each, build_from_scratch, five_widths, legal_options, pooled_sides
from inside.models.surgery import count_costs
from inside.text import percent


def convnet5_costs(n_classes: int, image_size: int, *, in_channels: int = 3, filters: int | Sequence[int] = 16,
                   organisation: str = "double", kernel_size: int | Sequence[int] = 3, batch_norm: bool = True,
                   dense: int = 128, **_: object) -> dict[str, int]:
    """Parameters of ConvNet5 and its multiply-accumulates per image, by formula instead of counting.

    With widths m₀ = in_channels, m₁, …, m₅, kernels kᵢ×kᵢ, sides sᵢ and n dense neurons:
    parameters Σᵢ (kᵢ² mᵢ₋₁ + 1) mᵢ + (s₅² m₅ + 1) n + (n + 1) n_classes, and 2 Σᵢ mᵢ for batch norm;
    multiply-accumulates Σᵢ sᵢ₋₁² kᵢ² mᵢ₋₁ mᵢ + s₅² m₅ n + n n_classes.
    """
    m, k = [in_channels, *five_widths(filters, organisation)], _for_each("kernel_size", kernel_size, 5)
    s, n = pooled_sides(image_size), dense
    blocks = range(1, 6)
    return {"parameters": sum((k[i - 1] ** 2 * m[i - 1] + 1) * m[i] for i in blocks)
            + (s[5] ** 2 * m[5] + 1) * n + (n + 1) * n_classes + 2 * sum(m[1:]) * batch_norm,
            "macs": sum(s[i - 1] ** 2 * k[i - 1] ** 2 * m[i - 1] * m[i] for i in blocks)
            + s[5] ** 2 * m[5] * n + n * n_classes}


def convnet5_table(n_classes: int, image_size: int, options: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Parameters P and multiply-accumulates M of some ConvNet5, by formula and counted; one row per network.

    m filters in each block, kernels of k×k, n dense neurons; `options` are those of one more network, the last row. The last
    column is the fraction of P in the dense layer.
    """
    kinds = [{"filters": m, "organisation": "const", "kernel_size": k, "dense": n, "batch_norm": False}
             for m, k, n in ((16, 3, 64), (32, 3, 128), (32, 5, 128), (64, 3, 128))]
    rows = []
    for kind in [*kinds, {**legal_options("convnet5"), **options}] if options is not None else kinds:
        network = build_from_scratch("convnet5", n_classes, image_size, kind)
        formula = convnet5_costs(n_classes, image_size, **kind)
        counted = count_costs(network, image_size, network.in_channels)
        dense = sum(parameter.numel() for parameter in network.dense.parameters())
        rows.append({"m": str(kind["filters"]), "k": str(kind["kernel_size"]), "n": kind["dense"],
                     **{f"{sign}: {how}": costs[name] for sign, name in (("P", "parameters"), ("M", "macs"))
                        for how, costs in (("formula", formula), ("counted", counted))},
                     "share of P in the dense layer": dense / counted["parameters"]})
    return pd.DataFrame(rows)


def describe_convnet5(table: pd.DataFrame) -> str:
    """Whether formula and count agree in each row of a `convnet5_table`, and the share of the dense layer."""
    agree = int(((table["P: formula"] == table["P: counted"]) & (table["M: formula"] == table["M: counted"])).sum())
    shares = table["share of P in the dense layer"]
    return (f"Formula and count agree in {agree} of {len(table)} networks; the dense layer holds from "
            f"{percent(shares.min(), 0)} to {percent(shares.max(), 0)} of the parameters. P: parameters, M: "
            "multiply-accumulates per image.")


def options_table(architecture: str) -> pd.DataFrame:
    """The ARCHITECTURE_OPTIONS of a network with their defaults."""
    defaults = legal_options(architecture)
    return pd.DataFrame({"option": defaults.keys(), "default": [str(value) for value in defaults.values()]})
