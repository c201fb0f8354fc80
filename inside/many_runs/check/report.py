"""The report of a hand-in, exported once more from its notebooks and results, beside the one that was handed in."""

from __future__ import annotations

import base64
import difflib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bs4 import BeautifulSoup

from inside.many_runs.check.files import LARGEST, NUMBERS, HandIn, own_notebook
from inside.many_runs.check.notebooks import PICTURE, picture_distance, shortened
from inside.many_runs.check.rows import DIFFERS, HOLDS, OTHER_VERSION, UNDECIDED, Row, number_of
from inside.release import release
from inside.report.later import LATER
from inside.report.page import export_report

READ = ("figures", "tables")  # folders of a run whose files the report reads


def check_report(hand_in: HandIn) -> Iterator[Row]:
    """Whether report.html is what its notebooks, results and tables give; the day on which it was made apart."""
    told = _normal(hand_in.text("report.html"))
    made = _normal(export_again(hand_in))
    if told == made:
        yield Row("report.html: exported again", HOLDS, f"{len(told):,} signs", "the same")
        return
    releases = {hand_in.results(number).get("release") for number in NUMBERS if hand_in.has(f"{number}_results.json")}
    verdict = DIFFERS if releases == {release()} else OTHER_VERSION
    first, second = _words(told), _words(made)
    lines = list(difflib.unified_diff(first, second, "report.html", "exported again", lineterm="", n=0))
    if lines:
        gone, new = ([line[1:] for line in lines[2:] if line[0] == sign] for sign in "-+")
        yield Row("report.html: exported again", verdict, "; ".join(gone)[:200], "; ".join(new)[:200],
                  remark=f"{number_of(len(gone) + len(new), 'line')} differ", shown=shortened("\n".join(lines)))
    far = _pictures_apart(told, made)
    if far:
        yield Row("report.html: its pictures", verdict, remark=far)
    if not lines and not far:
        yield Row("report.html: exported again", UNDECIDED, remark="the same words and pictures in other markup, as "
                  "other versions of the packages or a change by hand give")


def export_again(hand_in: HandIn) -> str:
    """The report of the notebooks that are there, made in a temporary folder that has the files of the hand-in as links."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / _run_name(hand_in)
        for part in ("", *READ):
            (place / part).mkdir()
            own = hand_in.folder / part
            for file in sorted(own.iterdir()) if own.is_dir() else ():
                if file.suffix in LARGEST and file.suffix != ".html" and file.is_file():
                    own_file, target = hand_in.path(*filter(None, (part, file.name))).resolve(), place / part / file.name
                    try:
                        target.symlink_to(own_file)
                    except OSError:  # Windows, without the privilege
                        shutil.copyfile(own_file, target)
        books = [place / own_notebook(number).name for number in NUMBERS]
        return export_report([book for book in books if book.exists()], place / "report.html").read_text(encoding="utf-8")


def _run_name(hand_in: HandIn) -> str:
    """The name that the run had when its report was made: folders that are handed in are often renamed."""
    told = Path(str(hand_in.settings.get("RUN", "")).replace("\\", "/")).name
    return told if re.fullmatch(r"[\w.+ -]{1,100}", told) and told not in (".", "..") else hand_in.folder.resolve().name


def _normal(page: str) -> str:
    """A page without the day on which it was made, the note that a notebook was opened since, and ids drawn at random."""
    page = re.sub(r'id="cell-id=[^"]*"', 'id=""', page)
    page = re.sub(r'<p class="note"><b>Notebook 0[123] was opened again</b> on [^<]*</p>', LATER, page, count=1)
    return re.sub(r'(<p class="made">Run “[^”]*”, )\d{1,2} [A-Z][a-z]+ \d{4}', r"\1(day)", page, count=1)


def _words(page: str) -> list[str]:
    """What a reader sees of a page, and hears of its pictures."""
    soup = BeautifulSoup(page, "html.parser")
    for tag in soup(["style", "script"]):
        tag.decompose()
    alts = [f"[picture: {image.get('alt', '')}]" for image in soup("img")]
    links = [f"[link: {link['href']}]" for link in soup("a", href=True)]
    return [" ".join(line.split()) for line in [*soup.get_text("\n").splitlines(), *alts, *links] if line.strip()]


def _pictures_apart(first: str, second: str) -> str:
    """In words, which pictures of two pages differ; "" for none. Other versions of Pillow pack the same pixels otherwise."""
    ours, theirs = (re.findall(r"data:image/\w+;base64,([A-Za-z0-9+/=\s]*)", page) for page in (first, second))
    if len(ours) != len(theirs):
        return f"{number_of(len(ours), 'picture')}, {len(theirs):,} when exported again"
    places = [place for place, (one, other) in enumerate(zip(ours, theirs, strict=True), 1) if one != other
              and picture_distance(base64.b64decode(one), base64.b64decode(other)) > PICTURE]
    return f"another picture in place {', '.join(map(str, places[:5]))}" if places else ""
