"""Tests of inside/report/page.py; the reports of whole runs are tested in tests/test_run.py."""

import base64
import html
import io
import re
import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from inside import render
from inside.files import ROOT, file_hash, write_json
from inside.render import figure_html, fold_html, table_html
from inside.report.cells import REASONS
from inside.report.deliverables import BEYOND, Row
from inside.report.found import Found
from inside.report.later import note_later
from inside.report.page import _environment, export_report, outside_requests
from inside.shown import Figure, Fold, Table

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
    assert f"Run “{html.escape(HOSTILE)}”, ".replace("&#x27;", "&#39;") in header
    assert "1,234 drawn images (cats &amp; dogs); &lt;net&gt;." in header and "are <b>drawn</b> by" in header
    assert "<script" not in page and outside_requests(page) == []


def test_what_the_notebook_made_stays_html(made):
    """Headings keep their markup and stand in the contents once, under their anchors; formulas are MathML; code is folded away."""
    page = export_report([made / "01_split.ipynb"], made / "report.html").read_text(encoding="utf-8")
    for contents in (re.search(rf"<nav [^>]*{name}.*?</nav>", page, flags=re.S)[0] for name in ('class="side"', "folded")):
        assert ">01 · <em>Split</em> &amp; classify</a><ul><li>" in contents and contents.count("<li>") == 4
        anchors = re.findall('href="#([^"]*)"', contents)
        assert len(anchors) == 4 and sum(anchor.startswith("01-") for anchor in anchors) == 2
        assert all(f' id="{anchor}"' in page for anchor in anchors) and len(set(anchors)) == 4
    assert page.count("<math") >= 2 and "$$" not in page and "a warning" not in page
    assert re.findall("<summary>(.*)</summary>", page) == ["Contents", "Code (1 line)"]
    assert "<details" in page and not re.search(r"<details[^>]* open", page)
    assert len(re.findall("<h1", page)) == 1
    assert "<pre>&lt;i&gt;" in page


def test_templates_and_style_are_found_from_another_working_directory(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = export_report([made / "01_split.ipynb"], made / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and "details.code>summary" in page and ".highlight .k" in page
    assert page.count('<section class="cell">') == 1 and "<details" in page


def code(source, *outputs, tags=()):
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


def markdown_output(text):
    return nbformat.v4.new_output("display_data", {"text/html": render.markdown_html(text), "text/plain": text})


def page_of(folder, *cells):
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), folder / "01_split.ipynb")
    return export_report([folder / "01_split.ipynb"], folder / "report.html").read_text(encoding="utf-8")


def test_parameters_and_versions_stand_once(tmp_path):
    versions = nbformat.v4.new_output("display_data", {"text/html": "<table><tr><th>torch</th></tr></table>"})
    cells = [nbformat.v4.new_markdown_cell("# 01 · A"), code("helpers.environment()", versions), nbformat.v4.new_markdown_cell("## Parameters\n\nChange."),
             code("EPOCHS = 5\nSTUDY_STORAGE = ''\nSEED = 0\nDATASET = 'demo'", tags=["parameters"]),
             code("EPOCHS = 1\nSTUDY_STORAGE = 'postgresql://me:secret@host/a'\nSEED = 0", tags=["injected-parameters"])]
    for number in ("01", "02"):
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{number}_a.ipynb")
    page = export_report([tmp_path / "01_a.ipynb", tmp_path / "02_a.ipynb"], tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count(">torch</th>") == 1 and "Change." not in page and "secret" not in page and "postgresql://me:…@host/a" in page
    differ, others = page[page.index('id="parameters"'):].split("All other parameters (2 rows)")
    assert "<code>EPOCHS</code></th><td><code>1</code></td><td><code>5</code>" in differ and "SEED" not in differ
    assert "<code>SEED</code>" in others and "EPOCHS" not in others
    assert "<code>DATASET</code></th><td><code>&#39;demo&#39;</code></td><td>&#34;demo&#34;, &#34;digits&#34;, " in others  # no meaning: what it takes


def test_sections_with_nothing_in_this_run_become_a_list(tmp_path):
    page = page_of(tmp_path, nbformat.v4.new_markdown_cell("# 01 · A"), nbformat.v4.new_markdown_cell("## Part B\n\nAll of it.\n\n### The search\n\nProse."),
                   code("search", markdown_output("No settings were searched in this run: `SEARCH_TRIALS` is 0.")),
                   nbformat.v4.new_markdown_cell("## Found"), code("found", markdown_output("Nothing is missing.")),
                   nbformat.v4.new_markdown_cell("## Browse\n\nIn JupyterLab."), code("browse", markdown_output("a panel")))
    assert "<li><b>The search.</b> No settings were searched in this run: SEARCH_TRIALS is 0.</li>" in page
    assert "Prose." not in page and "All of it." in page and "Nothing is missing." in page and "a panel" not in page and "Browse" not in page


def test_reasons_are_those_that_the_rooms_give():
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "inside").rglob("*.py") if path.parent.name != "report")
    assert [reason for reason in REASONS if f'Text("{reason}' not in written and f'Text(f"{reason}' not in written] == []


def test_long_prose_tables_logs_and_sources_are_folded_and_say_how_long(tmp_path):
    rows = pd.DataFrame({"a": range(30)})
    source = nbformat.v4.new_output("display_data", {"text/markdown": "```python\ndef loss():\n    return 1\n```"})
    page = page_of(tmp_path, nbformat.v4.new_markdown_cell("## A\n\nFirst, with\n\n$$x$$\n\nas its formula.\n\n" + "word " * 60 + "\n\n$$y$$"),
                   code("x", source, nbformat.v4.new_output("stream", name="stdout", text="a line\n" * 5),
                        nbformat.v4.new_output("display_data", {"text/html": table_html(Table(rows, "rows", "It rises. Read it."), "1.1")}),
                        nbformat.v4.new_output("display_data", {"text/html": table_html(Table(rows[:3], "few", "It rises."), "1.2")})))
    told = re.findall("<summary>(.*)</summary>", page)
    assert told == ["Contents", "Code (1 line)", "How this works (61 words, 1 formula)", "Source of <code>loss</code> (2 lines)", "Log (5 lines)",
                    "Table 1.1 · It rises (30 rows)"]
    assert page.index("as its formula") < page.index("How this works") < page.index("word word")


def test_links_lead_somewhere_and_no_id_is_there_twice(tmp_path):
    few = pd.DataFrame({"a": [1]})
    shown = [nbformat.v4.new_output("display_data", {"text/html": table_html(Table(few, "few"), "1.1")})] * 2
    page = page_of(tmp_path, nbformat.v4.new_markdown_cell("## A\n\n[here](#table-few) and [nowhere](#figure-none)"), code("x", *shown))
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids)) and '<a href="#table-few">here</a> and nowhere' in page


def test_pictures_become_smaller_and_stay_the_same(tmp_path):
    picture = Image.fromarray(np.kron(np.arange(100, dtype=np.uint8).reshape(10, 10), np.ones((30, 30), np.uint8)))
    picture.save(tmp_path / "a.png")
    image = figure_html(Figure(None, "a", "A picture of ten by ten fields"), "1.1", (tmp_path / "a.png").read_bytes(), 300)
    page = page_of(tmp_path, code("x", nbformat.v4.new_output("display_data", {"text/html": image})))
    packed = base64.b64decode(re.search("data:image/webp;base64,([^\"]*)", page)[1])
    assert len(packed) < (tmp_path / "a.png").stat().st_size
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(packed)).convert("L")), np.asarray(picture))


def test_a_page_says_what_is_older_than_the_results_beside_it(made):
    for number, network in (("01", "before"), ("02", "before"), ("03", file_hash(made / "01_split.ipynb"))):
        write_json(made / f"{number}_results.json", {"network": network})
    shutil.copy(made / "01_split.ipynb", made / "model.safetensors")
    report = export_report([made / "01_split.ipynb"], made / "report.html")
    header = re.search("<header>(.*)</header>", report.read_text(encoding="utf-8"), flags=re.S)[1]
    assert "Notebook 01 is older than the network in this folder</b>: a later run trained it and did not end." in header
    assert "Notebook 02 is older than the network in this folder</b>: its numbers are of the network before." in header
    assert "Notebook 03 is older" not in header and "was opened again" not in header
    for number in ("02", "03"):
        note_later(report, number)
    page = report.read_text(encoding="utf-8")
    assert "Notebook 02 was opened again</b> on 20" in page.split("</header>")[0] and page.count("was opened again") == 1
    assert "was opened again" not in export_report([made / "01_split.ipynb"], report).read_text(encoding="utf-8")
    note_later(made / "report.failed.html", "02")
    assert not (made / "report.failed.html").exists()


def test_a_cell_that_failed_is_on_the_first_screen(run_folder):
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="1 < 2", traceback=["Traceback", "ValueError: 1 < 2"])
    cells = [nbformat.v4.new_markdown_cell("# 01 · A", metadata={"tags": ["papermill-error-cell-tag"]}), nbformat.v4.new_markdown_cell("# 01 · B"),
             code("fails()", error), code("never()")]
    page = page_of(run_folder, *cells)
    header = re.search("<header>(.*)</header>", page, flags=re.S)[1]
    assert "ValueError: 1 &lt; 2" in header and 'href="#failed-cell"' in header and "tiles" not in header and "95.0%" not in page
    assert page.count('id="failed-cell"') == 1 and "never" not in page and "01 · A" not in page and '<details class="code" open' in page


@pytest.mark.parametrize("source", ["helpers.environment()", "run = helpers.open_run(globals(), '01')"])
def test_cells_that_the_page_leaves_out_are_there_where_they_failed(tmp_path, source):
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="EPOCHS = 0", traceback=["ValueError: EPOCHS = 0"])
    page = page_of(tmp_path, nbformat.v4.new_markdown_cell("# 01 · A"), nbformat.v4.new_markdown_cell("## Parameters"), code(source, error))
    assert "EPOCHS = 0" in page.split("</header>")[0] and 'id="failed-cell"' in page


def test_the_command_is_on_the_first_screen(run_folder):
    write_json(run_folder / "run.json", {"command": "python run.py demo -p RUN 'a <b>'"})
    header = re.search("<header>(.*)</header>", page_of(run_folder, code("x")), flags=re.S)[1]
    assert "<code>python run.py demo -p RUN &#39;a &lt;b&gt;&#39;</code>" in header


def test_the_code_of_a_section_is_one_fold_behind_its_heading(tmp_path):
    page = page_of(tmp_path, nbformat.v4.new_markdown_cell("Words before.\n\n## A\n\nProse.\n\n### B\n\nMore."), code("first()"), code("second()"),
                   nbformat.v4.new_markdown_cell("## C"), code("third()"))
    assert re.findall(r"<h[2-4] id=|<summary>Code [^<]*", page.split("<main>")[1].split('id="about"')[0])[1:] == [
        "<h3 id=", "<h4 id=", "<summary>Code (2 lines)", "<h3 id=", "<summary>Code (1 line)"]
    page = page.split("<main>")[1]
    assert page.index("Words before.") < page.index("Prose.") < page.index("first") < page.index("second") < page.index("third")


def test_first_sentences_stay_and_brackets_are_not_cut(tmp_path):
    long = "One " * 20 + "two. " + "Three (four " + "f " * 10 + "five. Six) seven. " + "Eight " * 40 + "nine."
    page = page_of(tmp_path, nbformat.v4.new_markdown_cell("## A\n\n" + long))
    opening, folded = page.split("<summary>How this works (41 words)</summary>")
    assert "Eight" not in opening and folded.count("Eight ") == 40 and folded.count("nine.") == 1 and "Six) seven.</p>" in opening.replace(" </p>", "</p>")


def test_appendices_are_folded_and_say_what_is_in_them(tmp_path):
    shown = nbformat.v4.new_output("display_data", {"text/html": table_html(Table(pd.DataFrame({"a": [1]}), "few"), "1.1")})
    page = page_of(tmp_path, nbformat.v4.new_markdown_cell("## Appendix A · The search"), code("x", shown), nbformat.v4.new_markdown_cell("## B"), code("y", shown))
    assert page.count("What came of it") == 1 and "<summary>What came of it (1 table)</summary>" in page


@pytest.mark.parametrize("width, narrow", [(620, True), (621, False)])
def test_narrow_pictures_are_known(width, narrow):
    assert ('class="picture narrow ' in figure_html(Figure(None, "a", "words"), "1.1", b"", width)) is narrow


def test_notebooks_that_measured_another_network_are_named_on_the_first_screen(run_folder):
    (run_folder / "model.safetensors").write_bytes(b"weights")
    now = file_hash(run_folder / "model.safetensors")
    for number, network in (("02", "another"), ("03", now)):
        write_json(run_folder / f"{number}_results.json", {"network": network})
    assert Found.read(run_folder).outdated() == ["02"]
    header = page_of(run_folder, code("x")).split("</header>")[0]
    assert "Notebook 02 is older than the network" in header and "Notebook 03 is older" not in header
    write_json(run_folder / "02_results.json", {})  # of an earlier version: nothing is known
    assert Found.read(run_folder).outdated() == []


def test_a_table_of_eigenvalues_has_three_digits_that_count():
    shown = table_html(Table(pd.DataFrame({"x": ["a"], "λ1": [5151.6386], "λ8": [1.3707e-06]}), "values", significant=True), "3.4")
    assert ">5,150<" in shown and ">1.37·10⁻⁶<" in shown and "0.000" not in shown


def test_each_deliverable_has_a_jump_at_the_top_to_a_place_that_the_page_has(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 01 · Split"), nbformat.v4.new_markdown_cell("## Loss")])
    nbformat.write(book, tmp_path / "01_split.ipynb")
    tasks = {"1 · Split": [Row("", "Loss curves", "", ("01-*",)), Row("", "Top-k: own", "", ("01-l*", "table-*")), Row("", "Top-k: other", "", ("01-s*",)),
                           Row("", "Missing", "", ("figure-none",))], BEYOND: [Row("", "Search", "", ("01-*",))]}
    places = {"01-loss": "Section", "01-split": "Notebook", "table-eigenvalues": "Table 3.4"}
    jumps = _environment(places).globals["jumps"](tasks)
    assert jumps == [("1 · Split", [("Loss curves", "01-loss", ""), ("Top-k", "01-loss", "table-eigenvalues")])]
    page = export_report([tmp_path / "01_split.ipynb"], tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<nav class="jump" aria-label="Deliverables">' in page


@pytest.mark.parametrize("places, told", [(["Table 3.4"], "Table 3.4 · All (2)"), (["Table 3.4", "Figure 3.1"], "All (2)"), ([], "All (2)")])
def test_a_fold_names_the_one_table_or_figure_that_links_lead_to(places, told):
    body = "".join(f"<figure><figcaption><b>{place}.</b> A caption. </figcaption></figure>" for place in places)
    assert f">{told}</summary>{body}</details>" in fold_html(Fold("All (2)", ()), body)
