"""A contact sheet of predictions: the images that a person should look at, as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd

from inside.data.table import load_image
from inside.many_runs.pages import write_page
from inside.many_runs.predict.folder import Predicted
from inside.report.markup import thumbnail
from inside.text import format_share

FARTHEST, LEAST, DRAWN = 80, 60, 60  # images, at most


@dataclass(frozen=True)
class Card:
    """One image of the sheet: its path, its picture as an address, and the words below it."""

    path: str
    picture: str
    told: str


def write_sheet(found: Predicted, target: Path, *, seed: int = 0) -> Path:
    """Write the sheet: the farthest images, the least confident of the others, and a draw of the rest."""
    images = found.images
    farthest = images[images["far"]].sort_values("distance", ascending=False).head(FARTHEST)
    rest = images.drop(farthest.index).sort_values(["confidence", "path"])
    drawn = rest.iloc[LEAST:].sample(min(DRAWN, max(0, len(rest) - LEAST)), random_state=seed)
    sections = [("Far from the training images", "The farthest first.", farthest),
                ("Least confident", "Of the others, the lowest confidence first.", rest.head(LEAST)),
                ("A random draw of the rest", "", drawn)]
    return write_page(
        target, Path(__file__).with_name("sheet.html.j2"), root=found.root.resolve().name, file=found.file.name,
        summary=found.summary, unreadable=found.unreadable.head(50).to_dict("records"),
        sections=[(title, words, [_card(found.root, row) for row in rows.to_dict("records")])
                  for title, words, rows in sections if len(rows)])


def _card(root: Path, row: dict) -> Card:
    image, kept = load_image(root / row["path"]), BytesIO()
    image.thumbnail((160, 160))
    image.save(kept, "PNG")
    wrong = f", in the folder {row['label']}" if row["label"] not in ("", row["predicted"]) else ""
    distance = "" if pd.isna(row["distance"]) else f", distance {row['distance']:.2f}"
    told = f"{row['predicted']} {format_share(row['confidence'])}{distance}{wrong}"
    return Card(row["path"], thumbnail(kept.getvalue(), 160), told)
