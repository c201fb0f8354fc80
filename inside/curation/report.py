"""What notebook 01 shows of near duplicates and of suspected label errors."""

from __future__ import annotations

import pandas as pd

from inside.curation.describe import describe_label_issues, describe_near_duplicates, describe_suspects
from inside.curation.groups import NearDuplicates
from inside.curation.label_issues import LabelIssues
from inside.data.grids import plot_images, short_paths
from inside.data.sources import ImageSet
from inside.data.table import load_image
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import format_share, literal


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


def report_label_issues(found: LabelIssues, images: ImageSet, *, at_most: int = 12) -> list[Shown]:
    """What was found, in sentences; if anything, the images with the most suspected labels, and a table of all suspects."""
    shown: list[Shown] = [Text.bullets(describe_label_issues(found))]
    if found.suspects.empty:
        return shown
    worst = found.suspects.head(at_most)
    names = short_paths(worst["path"], width=20)
    signs = ["‡ " if reason == "conflict" else "" for reason in worst["reason"]]
    texts = [f"{sign}{name}\n→ {row.suggested}? {_quality(row.quality)}" for sign, name, row in
             zip(signs, names, worst.itertuples(), strict=True)]
    fig = plot_images([load_image(images.root / path) for path in worst["path"]], texts, columns=6, size=1.75)
    told = "; ".join(f"{literal(row.path)}: {literal(row.suggested)}" for row in worst.itertuples())
    which = f"The {len(worst)} most suspected of {len(found.suspects):,} labels" if len(worst) > 1 else "The suspected label"
    conflicts = " ‡: a copy of the image has another label." if any(signs) else ""
    figure = Figure(fig, "suspected_labels", f"Images with suspected labels, and the class suggested for each: {told}.",
                    f"{describe_suspects(found)} {which}: folder and file, and after → the class suggested, with the score "
                    f"of the present label in a regression that has not seen the image.{conflicts}")
    caption = ("A row for each suspect. `quality`: the score of its label, 0 to 1, by a regression that has not seen the "
               "image; `reason`: “conflict” where a copy of it has another label, else “prediction”.")
    return [*shown, figure, Fold("Suspected labels", (Table(found.suspects, "suspected_labels", caption, rows=50),))]


def _quality(value: float) -> str:
    return "" if value != value else f"{value:.1g}" if value < 0.001 else format_share(value)
