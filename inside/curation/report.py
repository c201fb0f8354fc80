"""What notebook 01 shows of near duplicates."""

from __future__ import annotations

import pandas as pd

from inside.curation.describe import describe_near_duplicates
from inside.curation.groups import NearDuplicates
from inside.data.grids import plot_images, short_paths
from inside.data.sources import ImageSet
from inside.data.table import load_image
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import literal


def report_near_duplicates(near: NearDuplicates, images: ImageSet, *, at_most: int = 9) -> list[Shown]:
    """What was found, in sentences; if anything, pairs side by side, those with two labels first, and a table of all."""
    pairs = near.table(images.table)
    shown: list[Shown] = [Text.bullets(describe_near_duplicates(near, pairs))]
    if pairs.empty:
        return shown
    shown.append(_figure(pairs, images, at_most))
    table = pairs.drop(columns=["split", "other_split"], errors="ignore")
    caption = ("A row for each pair. `distance`: bits of 63 in which their hashes differ; `cosine`: of their pretrained "
               "features; `correlation`: of their details once aligned; `mirrored`: one is the mirror image of the other; "
               "`group`: empty where the two are kept apart.")
    return [*shown, Fold("Near duplicates", (Table(table, "near_duplicates", caption),))]


def _figure(pairs: pd.DataFrame, images: ImageSet, at_most: int) -> Figure:
    chosen = pairs.sort_values(["conflicting", "correlation"], ascending=[False, True], kind="stable").head(at_most)
    paths = chosen[["path", "other_path"]].to_numpy().ravel().tolist()
    signs = ["‡ " if conflicting else "" for conflicting in chosen["conflicting"]]
    told = [f"{sign}{text}" for sign, row in zip(signs, chosen.to_dict("records"), strict=True)
            for text in (f"distance {row['distance']:.0f}{', mirrored' * bool(row['mirrored'])}",
                         f"correlation {row['correlation']:.2f}")]
    texts = [f"{name}\n{text}" for name, text in zip(short_paths(paths, width=20), told, strict=True)]
    fig = plot_images([load_image(images.root / path) for path in paths], texts, columns=6, size=1.75)
    conflicts = int(chosen["conflicting"].sum())
    which = f"The {len(chosen)} pairs with the lowest correlations" if len(chosen) > 1 else "The pair"
    if conflicts:
        which = f"{conflicts} pair{'s' * (conflicts > 1)} with different labels (‡)" + (
            f", and the {len(chosen) - conflicts} with the lowest correlations" if conflicts < len(chosen) else "")
    names = "; ".join(f"{literal(one)} and {literal(other)}" for one, other in chosen[["path", "other_path"]].to_numpy())
    return Figure(fig, "near_duplicates", f"Near duplicates side by side: {names}.",
                  f"{which}, of {len(pairs):,}: an image and, on its right, its near duplicate; below them the distance of "
                  "their hashes and the correlation of their details.")
