"""The executed notebooks as one self-contained HTML page."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from jinja2 import Environment
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from inside.files import atomic_write, read_json
from inside.report import markup, summary
from inside.report.article import TEMPLATES, make_article
from inside.report.card import card_html
from inside.report.deliverables import BEYOND, Row, deliverables, ordered
from inside.report.found import Found
from inside.report.parameters import parameter_rows
from inside.text import written_day

THUMBNAILS = {"confusion": "Confusion matrix of the test images",
              "class_activation_maps_wrong": "Where the network looked when it was wrong: class activation maps of errors",
              "effective_ranks": "Effective rank by layer and scenario"}


def export_report(notebooks: Sequence[Path], target: Path) -> Path:
    """Write the executed notebooks as one self-contained HTML page; raises ValueError if it would load anything.

    Where the last of them failed, the page goes up to there and begins with the error.
    """
    books = {path.stem: nbformat.read(path, as_version=4) for path in notebooks}
    articles = [make_article(name, book) for name, book in books.items()]
    failed = next((article.error for article in articles if article.error), "")
    found = Found(target.parent, {}) if failed else Found.read(target.parent)  # what lies there may be of an earlier run
    made = read_json(target.parent / "run.json") if (target.parent / "run.json").exists() else {}
    differ, others = parameter_rows(books.values())
    places = markup.places("".join(article.body for article in articles))
    page = _environment(places).get_template("page.html.j2").render(
        title="Inside an image classifier", run=target.parent.name, day=written_day(date.today()), made=made,
        outdated=found.outdated(), drawn=found.results["01"].get("drawn"), articles=articles, failed=failed,
        setting=summary.describe_setting(found), tiles=summary.tiles(found), follows=summary.what_follows(found),
        not_follows=summary.what_does_not_follow(found), tasks=ordered(deliverables(found)), thumbnails=_thumbnails(found),
        differ=differ, others=others, versions=_versions(books.values()), card="" if failed else card_html(found),
        highlighting=HtmlFormatter(style="xcode").get_style_defs(".highlight"),
        dark_highlighting=HtmlFormatter(style="monokai").get_style_defs(".highlight"))
    page = markup.smaller_pictures(markup.without_dead_links(markup.unique_ids(page)))
    outside = outside_requests(page)
    if outside:
        raise ValueError(f"The report would load {outside[0]} from elsewhere: show pictures with Run.show instead.")
    with atomic_write(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _environment(places: Mapping[str, str]) -> Environment:
    """Jinja with `find_places(patterns, most)`: (anchor, what a link says) of the places that the page has, and `jumps`."""
    def find_places(patterns: Iterable[str], most: int = 1) -> list[tuple[str, str]]:
        found = [(place, label) for pattern in patterns for place, label in places.items()
                 if fnmatch.fnmatchcase(place, pattern)]
        return list(dict.fromkeys(found))[:most]
    pages = Environment(loader=TEMPLATES, autoescape=True, keep_trailing_newline=True)
    def jumps(tasks: Mapping[str, Sequence[Row]]) -> list[tuple[str, list[tuple[str, str, str]]]]:
        """For each task (name, anchor, anchor of the table beside a figure or "") of each deliverable that has a place.

        Rows that differ behind a colon are one.
        """
        found: dict[str, dict[str, tuple[str, str, str]]] = {}
        for task, rows in tasks.items():
            named = found.setdefault(task, {})
            for row in rows if task != BEYOND else ():
                name, anchors = row.name.partition(":")[0], [anchor for anchor, _ in find_places(row.anchors, 3)]
                tables = [anchor for anchor in anchors[1:] if anchor.startswith("table-")]
                if anchors:
                    named.setdefault(name, (name, anchors[0], tables[0] if tables else ""))
        return [(task, list(named.values())) for task, named in found.items() if named]
    pages.globals |= {"find_places": find_places, "jumps": jumps}
    return pages


def _thumbnails(found: Found) -> list[tuple[str, str, str]]:
    """(name, words, picture) of the figures that are shown small on the second screen, those that the run has."""
    paths = {name: found.folder / "figures" / f"{name}.png" for name in THUMBNAILS}
    return [(name, THUMBNAILS[name], markup.thumbnail(path.read_bytes())) for name, path in paths.items() if path.exists()]


def _versions(notebooks: Iterable[NotebookNode]) -> str:
    """The table of versions and machine that the first notebook shows, as HTML; "" where there is none."""
    shown = [output["data"]["text/html"] for notebook in notebooks for cell in notebook.cells
             if "helpers.environment()" in cell.source
             for output in cell.get("outputs", []) if "text/html" in output.get("data", {})]
    return markup.accessible(shown[0]) if shown else ""


def outside_requests(page: str) -> list[str]:
    """What a browser would fetch when it opens the page: addresses of scripts, styles, pictures, frames, fonts."""
    tags = BeautifulSoup(page, "html.parser").find_all(True)
    names = {"link": ("href",)}
    loads = [str(tag[name]) for tag in tags for name in names.get(tag.name, ("src", "srcset", "data", "poster"))
             if name in tag.attrs]
    styles = [str(tag.get("style", "")) + (tag.get_text() if tag.name == "style" else "") for tag in tags]
    loads += re.findall(r"(?:@import\s+(?:url\()?|url\()\s*[\"']?([^\"')\s;]+)", "\n".join(styles))
    loads += [f"<{tag.name}>" for tag in tags if tag.name == "script"]
    return [address for address in loads if not address.startswith(("data:", "#"))]
