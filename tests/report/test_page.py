"""Tests of inside/report/page.py; the reports of whole runs are tested in tests/test_run.py."""

import html
import re

import nbformat
import pytest

from inside.files import write_json
from inside.report.page import export_report, outside_requests

HOSTILE = "a <b>run<script>alert(1)<;script> & 'more' {{ title }}"


@pytest.fixture
def made(tmp_path):
    """A run with a hostile name and one executed notebook, and the page made from it."""
    def output(text):
        return nbformat.v4.new_output("stream", name="stdout", text=text)
    defaults = nbformat.v4.new_code_cell("EPOCHS = 5", metadata={"tags": ["parameters"]})
    injected = nbformat.v4.new_code_cell("EPOCHS = 1", metadata={"tags": ["injected-parameters"]})
    code = nbformat.v4.new_code_cell("print('<i>')", outputs=[output("<i>\n"), nbformat.v4.new_output("stream", name="stderr", text="a warning")])
    book = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_markdown_cell("# 01 · *Split* & classify"), defaults, injected,
        nbformat.v4.new_markdown_cell("## The loss & more\n\nHere $-\\log p$ and\n\n$$\\sum_i x_i$$"), code])
    folder = tmp_path / HOSTILE
    folder.mkdir()
    nbformat.write(book, folder / "01_split.ipynb")
    write_json(folder / "01_results.json", {"architecture": "<net>", "n_images": 1234, "dataset": "cats & dogs", "drawn": True})
    return folder


def test_names_of_runs_and_data_sets_are_escaped(made):
    page = export_report([made / "01_split.ipynb"], made / "report.html").read_text(encoding="utf-8")
    header = re.search("<header>(.*)</header>", page, flags=re.S)[1]
    assert f"<p>Run “{html.escape(HOSTILE)}”, ".replace("&#x27;", "&#39;") in header
    assert "&lt;net&gt; on 1,234 images (cats &amp; dogs). The code" in header and "are <b>drawn</b> by" in header
    assert "<script" not in page and outside_requests(page) == []


def test_what_the_notebook_made_stays_html(made):
    """Headings keep their markup and stand in the contents once, under their anchors; formulas are MathML; code is folded away."""
    page = export_report([made / "01_split.ipynb"], made / "report.html").read_text(encoding="utf-8")
    contents = re.search("<nav>(.*)</nav>", page, flags=re.S)[1]
    assert ">01 · <em>Split</em> &amp; classify</a><ul><li>" in contents and contents.count("<li>") == 2
    anchors = re.findall('href="#([^"]*)"', contents)
    assert len(anchors) == 2 and all(anchor.startswith("01-") and f' id="{anchor}"' in page for anchor in anchors)
    assert page.count("<math") >= 2 and "$$" not in page and "a warning" not in page
    assert re.findall("<summary>(.*)</summary>", page) == ["code: the defaults", "code: the parameters of this run", "code"]
    assert re.findall('<details class="code"( open)?[^>]*>', page) == ["", " open", ""]
    assert "<pre>&lt;i&gt;" in page


def test_templates_and_style_are_found_from_another_working_directory(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = export_report([made / "01_split.ipynb"], made / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and "details.code{margin" in page and ".highlight .k" in page
    assert page.count('<section class="cell">') == 3 and "<details" in page
