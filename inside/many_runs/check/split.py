"""The split of a hand-in: no image in two parts, the counts that are told, and the draw that its parameters give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import PurePosixPath

import pandas as pd

from inside.data.listing import SPLIT_FOLDERS
from inside.data.split import split_overlaps, split_table
from inside.many_runs.check.files import HandIn
from inside.many_runs.check.rows import DIFFERS, HOLDS, OTHER_VERSION, UNDECIDED, Row, compared, number_of, word
from inside.names import SPLITS
from inside.text import visible


def check_split(hand_in: HandIn) -> Iterator[Row]:
    """The proof of the split: no image in two parts, the counts of the results, the split of the network's training."""
    split, told = hand_in.split, hand_in.results("01")
    overlaps = split_overlaps(split.table).set_index("parts")
    shared = overlaps.astype(int).sum()
    for what, told_key in (("shared paths", "path"), ("shared content", "content")):
        number = int(shared[what])
        between = ", ".join(overlaps.index[overlaps[what] > 0])
        leaks = told.get("leaks")
        claim = leaks.get(told_key) if isinstance(leaks, Mapping) else None
        yield Row(f"split.csv: images in two parts, by {'path' if told_key == 'path' else 'sha256'}",
                  HOLDS if number == 0 and claim == 0 else DIFFERS, word(claim), f"{number:,}", "0",
                  f"between {between}: {_shared(split.table, what)}" if number else "")
    counts = {part: len(split.parts.get(part, ())) for part in SPLITS}
    yield from compared("01_results.json: split", told.get("split"), counts)
    yield from compared("01_results.json: n_images", told.get("n_images"), len(split.table))
    if hand_in.has("model.json"):
        trained = hand_in.json("model.json").get("split")
        same = trained == split.fingerprint
        yield Row("model.json: the split that the network was trained on", HOLDS if same else DIFFERS, word(trained),
                  split.fingerprint, remark="" if same else "split.csv is not the table of that training")


def check_draw(hand_in: HandIn) -> Iterator[Row]:
    """Whether SPLIT and the seed give this split of these images, as notebook 01 draws it; those of IGNORE apart."""
    table, settings = hand_in.split.table, hand_in.settings
    seed = settings["SEED"] if settings.get("SPLIT_SEED", "auto") == "auto" else settings["SPLIT_SEED"]
    drawn = split_table(table.assign(given=given_parts(table["path"])), settings["SPLIT"], seed=seed)["split"]
    moved = (table["split"] != drawn) & ((table["split"] != "") | (not settings.get("IGNORE")))
    versions = hand_in.json("run.json").get("versions")
    told = versions.get("scikit-learn") if isinstance(versions, Mapping) else None
    verdict = HOLDS if not moved.any() else OTHER_VERSION if not hand_in.of_this_release("01") else \
        DIFFERS if told == metadata.version("scikit-learn") else UNDECIDED
    first = [f"{visible(row.path)} is in {row.split or 'no part'}, drawn {part or 'none'}" for row, part in
             zip(table[moved].head(3).itertuples(), drawn[moved], strict=False)]
    made = f"{number_of(int(moved.sum()), 'image')} in another part" if moved.any() else "the same"
    yield Row("split.csv: drawn again from SPLIT and the seed", verdict, number_of(len(table), "image"), made,
              remark="; ".join(first))


def given_parts(paths: pd.Series) -> list[str]:
    """The parts to which the data set itself assigns its images, "" for none, by the folders that `list_folder` knows."""
    parts = [PurePosixPath(path).parts for path in paths]
    tops = {part[0]: SPLIT_FOLDERS[part[0].lower()] for part in parts if len(part) > 2 and part[0].lower() in SPLIT_FOLDERS}
    whole = "train" in tops.values() and len(set(tops.values())) > 1
    return [tops.get(part[0], "") if whole else "" for part in parts]


def _shared(table: pd.DataFrame, what: str) -> str:
    column = "path" if what == "shared paths" else "sha256"
    used = table[table["split"] != ""]
    parts = used.groupby(column)["split"].transform("nunique")
    return ", ".join(visible(str(path)) for path in used.loc[parts > 1, "path"].head(4))
