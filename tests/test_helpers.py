"""Tests of helpers.py and inside/render.py: what a notebook opens, shows, saves and writes."""

import base64
import json
import multiprocessing
import os
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import helpers
from inside.cli.profiles import notebook_parameters, notebooks
from inside.locks import FolderInUse
from inside.shown import Figure, Fold, Table, Text
from shared.processes import fork, needs_fork


@pytest.fixture
def pages(monkeypatch):
    """The HTML and Markdown of all that is displayed."""
    shown = []
    monkeypatch.setattr(helpers, "display", lambda page, raw: shown.append(page["text/html"]))
    return shown


def opened(tmp_path, number="02", **more):
    book = notebooks()[int(number) - 1]
    namespace = notebook_parameters(book) | {"RUN": str(tmp_path / "run"), "DEVICE": "cpu"} | more
    return helpers.open_run(namespace, number), namespace


def figure(name="x", **options):
    return Figure(plt.figure(figsize=(1, 1)), name, options.pop("alt", "a drawing"), **options)


def test_a_run_is_opened_with_checked_settings(tmp_path, capsys):
    run, namespace = opened(tmp_path, EPOCHS=3)  # of notebook 01: passed over by notebook 02, but checked
    assert run.settings["N_IMAGES"] == 200 and run.folder == tmp_path / "run" and str(run.device) == "cpu"
    assert str(tmp_path / "run") in capsys.readouterr().out
    with pytest.raises(ValueError, match="EPOCHS = 0"):
        opened(tmp_path, EPOCHS=0)


def test_unknown_names_are_refused_before_the_folder_is_made(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'N_IMAGES'"):
        opened(tmp_path, N_IMAGE=3)
    assert not (tmp_path / "run").exists()


def test_a_reader_s_own_names_are_no_matter_when_the_cell_runs_again(tmp_path):
    _, namespace = opened(tmp_path)
    helpers.open_run(namespace | {"MINE": 3, "layers": ["a"]}, "02")
    with pytest.raises(ValueError, match="did you mean 'N_IMAGES'"):
        helpers.open_run(namespace | {"N_IMAGE": 3}, "02")


def test_a_kernel_does_not_keep_itself_out(tmp_path, monkeypatch):
    monkeypatch.delenv("INSIDE_COMMAND", raising=False)
    monkeypatch.setattr("inside.locks.PATIENCE", 0)
    first, namespace = opened(tmp_path)
    with pytest.raises(FolderInUse, match=f"in use by process {os.getpid()} on .* \\(notebook 02, opened by hand\\), since 20"):
        opened(tmp_path)
    again = helpers.open_run(namespace, "02")
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):  # opened, then a full disk or the like
        patch.setattr(helpers, "_note_run", lambda run: 1 / 0)
        helpers.open_run(namespace, "02")
    last = helpers.open_run(namespace, "02")
    opened(tmp_path, "03")
    last.finish({})
    opened(tmp_path)
    assert first.folder == again.folder


def test_numbers_are_those_of_names_also_when_cells_run_again_in_another_order(tmp_path, pages):
    run, namespace = opened(tmp_path)
    table = pd.DataFrame({"a": [1]})
    run.show(figure("one"), Table(table, "one"), figure("two"), figure("one"))
    again = helpers.open_run(namespace, "02")
    again.show(figure("two"), figure("three"), Table(table, "two"))
    assert re.findall(r"<b>(.*?)\.</b>", "".join(pages)) == [
        "Figure 2.1", "Table 2.1", "Figure 2.2", "Figure 2.1", "Figure 2.2", "Figure 2.3", "Table 2.2"]


def test_figures_are_saved_and_shown_with_alternative_text_and_caption(tmp_path, pages):
    run, _ = opened(tmp_path)
    before = plt.get_fignums()
    run.show(figure("x", alt='the **sea** is "blue"', caption="The *sea* <b>wins</b>. Read it so."))
    page, = pages
    assert 'alt="the sea is &quot;blue&quot;"' in page and 'id="figure-x"' in page
    assert "<figcaption><b>Figure 2.1.</b> The <em>sea</em> &lt;b&gt;wins&lt;/b&gt;. Read it so." in page
    kind, data = re.search(r'src="data:image/(\w+);base64,([^"]*)"', page).groups()
    if kind == "png":
        assert base64.b64decode(data) == (tmp_path / "run" / "figures" / "x.png").read_bytes()
    assert plt.get_fignums() == before


def test_names_in_tables_are_text_not_markup_and_the_whole_is_a_csv(tmp_path, pages):
    run, _ = opened(tmp_path)
    table = pd.DataFrame({"class": ["<b>x</b>", "a & b", "<script>"], "<i>": [1, 2.5, 3000]})
    run.show(Table(table, "names", "A caption.", digits=1, rows=2))
    page, = pages
    assert "&lt;b&gt;x&lt;/b&gt;" in page and "a &amp; b" in page and "<script" not in page and "<i>" not in page
    assert "2 of 3 rows; all as <a download=" in page and page.count('scope="col"') == 2 and ">2.5<" in page and "3,000" not in page
    assert pd.read_csv(tmp_path / "run" / "tables" / "names.csv")["class"].tolist() == table["class"].tolist()
    assert base64.b64decode(re.search('base64,([^"]*)"', page)[1]).decode() == table.to_csv(index=False)


def test_numbers_in_tables_are_0_or_1_only_where_they_are_and_have_a_real_minus(tmp_path, pages):
    run, _ = opened(tmp_path)
    table = pd.DataFrame({"AP": [0.9996, 1, 0.0], "CKA": [-0.017, -0.0004, np.nan], "rank": [0.9996, -1234.5, 7], "n": [-3, 4000, 5],
                          "mixed": ["-a", True, -0.5]})
    run.show(Table(table, "numbers"))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", pages[0])
    assert cells == ["0.9996", "−0.017", "1.000", "−3", "-a", "1.000", "−0.0004", "−1,234.500", "4,000", "True", "0.000", "–", "7.000", "5", "−0.500"]
    assert "-0.017" in (tmp_path / "run" / "tables" / "numbers.csv").read_text()


def test_folds_say_what_is_in_them_and_how_long_it_is(tmp_path, pages):
    run, _ = opened(tmp_path)
    run.show(Fold("All <of> it", (Table(pd.DataFrame({"a": [1, 2]}), "all"), figure(), Text("a **b**"))))
    assert pages[0].startswith('<details class="fold"><summary class="mathjax_ignore">All &lt;of&gt; it (2 rows, 1 figure)</summary><figure')
    assert "<strong>b</strong>" in pages[0] and (tmp_path / "run" / "tables" / "all.csv").exists()


def test_the_results_are_written_with_the_time(tmp_path, capsys):
    run, _ = opened(tmp_path)
    run.finish({"layers": []})
    found = json.loads((tmp_path / "run" / "02_results.json").read_text())
    assert found["layers"] == [] and found["notebook_seconds"] >= 0 and "done in" in capsys.readouterr().out


def other_kernel(folder, here):
    """Open notebook 01 twice, finish it when told so, and stay."""
    opened(folder, "01", WEIGHTS="random")
    run = opened(folder, "01", WEIGHTS="random")[0]
    here.send("open")
    here.recv()
    run.finish({})
    here.send("finished")
    here.recv()


@needs_fork
def test_02_runs_while_the_kernel_of_01_is_open_and_01_again_only_when_it_has_finished(tmp_path, monkeypatch):
    monkeypatch.setattr("inside.locks.PATIENCE", 0)
    there, here = multiprocessing.Pipe()
    kernel = fork(other_kernel, tmp_path, here)
    try:
        assert there.recv() == "open"
        opened(tmp_path, "02")[0].finish({})
        with pytest.raises(FolderInUse, match=f"is in use by process {kernel.pid} on .*, since 20"):
            opened(tmp_path, "01")
        there.send("finish")
        assert there.recv() == "finished"  # its kernel stays open
        opened(tmp_path, "01")[0].finish({})
    finally:
        kernel.kill()
        kernel.join()
    assert {path.name for path in (tmp_path / "run").glob("*_results.json")} == {"01_results.json", "02_results.json"}
