"""An executed notebook as HTML, for the page."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import FileSystemLoader
from latex2mathml.converter import convert as to_mathml
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode, from_dict

from inside.report import markup
from inside.report.cells import failed_with, trim

TEMPLATES = FileSystemLoader(Path(__file__).parent)


class _MathRenderer(IPythonRenderer):
    """Markdown with formulas as MathML, which browsers draw without a script."""

    def block_math(self, body: str) -> str:
        return to_mathml(body, display="block")

    def inline_math(self, body: str) -> str:
        return to_mathml(body)


def markdown(source: str) -> str:
    """Markdown as HTML; source code that a notebook shows is folded away."""
    return markup.fold_source(source, MarkdownWithMath(renderer=_MathRenderer(escape=False)).render(source))


@dataclass(frozen=True)
class Article:
    """A notebook, and the anchors and titles of it and of its sections, all of them HTML as nbconvert made it.

    `left_out`: (heading, reason) of its sections that have nothing in this run. `error`: what its last cell failed with,
    "" where none did.
    """

    body: str
    anchor: str
    title: str
    sections: Sequence[tuple[str, str]]
    left_out: Sequence[tuple[str, str]] = ()
    error: str = ""


def make_article(name: str, notebook: NotebookNode) -> Article:
    """A notebook as HTML; the anchors of its headings begin with its number, since those of the three must differ."""
    trimmed = trim(notebook.cells)
    notebook = from_dict(notebook | {"cells": trimmed.cells})
    exporter = HTMLExporter(template_file="notebook.html.j2", extra_loaders=[TEMPLATES], preprocessors=[
        CoalesceStreamsPreprocessor(enabled=True)], filters={"markdown2html": markdown, "fold_shown": markup.fold_shown})
    body, _ = exporter.from_notebook_node(notebook)
    number = name[:2]
    body = markup.accessible(markup.code_behind_heading(markup.number_anchors(body, number)))
    heads = re.findall(r'<h([23]) id="([^"]*)">(.*?)<a class="anchor-link"', body)
    tops = [(anchor, text) for level, anchor, text in heads if level == "2"]
    anchor, title = tops[0] if tops else (f"{number}-", html.escape(name))
    sections = [(anchor, text) for level, anchor, text in heads if level == "3"]
    return Article(body, anchor, title, sections, trimmed.left_out, _error(trimmed.cells))


def _error(cells: Sequence[NotebookNode]) -> str:
    found = failed_with(cells[-1]) if cells else None
    return f"{found.ename}: {found.evalue}" if found else ""
