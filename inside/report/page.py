"""The executed notebooks as one self-contained HTML page."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader
from latex2mathml.converter import convert as to_mathml
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from pygments.formatters import HtmlFormatter

from inside.files import atomic_write, read_json

TEMPLATES = FileSystemLoader(Path(__file__).parent)


class _MathRenderer(IPythonRenderer):
    """Markdown with formulas as MathML, which browsers draw without a script."""

    def block_math(self, body: str) -> str:
        return to_mathml(body, display="block")

    def inline_math(self, body: str) -> str:
        return to_mathml(body)


def _markdown(source: str) -> str:
    return MarkdownWithMath(renderer=_MathRenderer(escape=False)).render(source)


@dataclass(frozen=True)
class Article:
    """A notebook, and the anchors and titles of it and of its sections, all of them HTML as nbconvert made it."""

    body: str
    anchor: str
    title: str
    sections: Sequence[tuple[str, str]]


def export_report(notebooks: Sequence[Path], target: Path) -> Path:
    """Write the executed notebooks as one self-contained HTML page; raises ValueError if it would load anything."""
    exporter = HTMLExporter(template_file="notebook.html.j2", extra_loaders=[TEMPLATES],
                            filters={"markdown2html": _markdown}, preprocessors=[CoalesceStreamsPreprocessor(enabled=True)])
    results = target.parent / "01_results.json"
    pages = Environment(loader=TEMPLATES, autoescape=True, keep_trailing_newline=True)
    page = pages.get_template("page.html.j2").render(
        title="Inside an image classifier", run=target.parent.name, day=f"{date.today():%d %B %Y}",
        results=read_json(results) if results.exists() else {}, articles=[_article(path, exporter) for path in notebooks],
        highlighting=HtmlFormatter().get_style_defs(".highlight"))
    outside = outside_requests(page)
    if outside:
        raise ValueError(f"The report would load {outside[0]} from elsewhere: show pictures with Run.show instead.")
    with atomic_write(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _article(path: Path, exporter: HTMLExporter) -> Article:
    """A notebook as HTML; the anchors of its headings begin with its number, since those of the three must differ."""
    body, _ = exporter.from_notebook_node(nbformat.read(path, as_version=4))
    number = path.name[:2]
    body = re.sub(r'(<h[123] id="|href="#(?!figure-|table-))', rf"\g<1>{number}-", body)
    headings = re.findall(r'<h([12]) id="([^"]*)">(.*?)<a class="anchor-link"', body)
    anchor, title = next((rest for level, *rest in headings if level == "1"), (f"{number}-", html.escape(path.stem)))
    return Article(body, anchor, title, [(anchor, text) for level, anchor, text in headings if level == "2"])


def outside_requests(page: str) -> list[str]:
    """What a browser would fetch when it opens the page: addresses of scripts, styles, pictures, frames, fonts."""
    page = re.sub(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]*", "data:", page)
    tags = "script|img|iframe|link|source|video|audio|object|embed"
    loads = re.findall(rf"<(?:{tags})\b[^>]*?\b(?:src|href|data)\s*=\s*[\"']?([^\"'\s>]*)", page)
    loads += re.findall(r"(?:@import\s+(?:url\()?|url\()\s*[\"']?([^\"')\s;]+)", page)
    loads += re.findall(r"<script\b[^>]*>", page)
    return [address for address in loads if not address.startswith(("data:", "#"))]
