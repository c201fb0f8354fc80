"""Notebooks 01 and 02 on images whose class and file names are markup, formulas, scripts and foreign letters, opened in a browser."""

import base64
import csv
import io

import pandas as pd
import pytest

from inside.cli.main import main
from inside.files import read_csv
from inside.text import visible
from shared.hostile import CLASSES, hostile_run
from shared.kernels import forked_kernels  # noqa: F401

RANKED = [CLASSES[place] for place in (1, 2, -1)]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The folder of a run on images of hostile names, with figures of the ranks of some classes; tests/soak/test_hostile.py has those of all."""
    folder = tmp_path_factory.mktemp("run") / "run"
    assert main(hostile_run(tmp_path_factory.mktemp("images"), folder, "--only", "01", "02", ranked=RANKED)) == 0
    return folder


def test_names_are_no_commands_to_a_terminal(hostile, capsys):
    log = (hostile / "run.log").read_text(encoding="utf-8")
    assert len(log.splitlines()) > 10 and not set(log) & {"\x1b", "\u202e", "\u2068"}
    assert main(["demo", "--name", str(hostile), "--only", "01", "-p", "DATASET", "\x1b[2Jnone"]) != 0
    assert "\\x1b[2Jnone" in (told := capsys.readouterr()).err and "\x1b" not in told.err + told.out


@pytest.fixture(scope="module")
def opened(hostile, browser):
    """The browser, with the report open and all its folds unfolded."""
    browser.get((hostile / "report.html").as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    return browser


def test_no_script_runs_and_nothing_is_asked_for(opened):
    assert opened.title == "Inside an image classifier: run"
    asked = opened.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name).filter(name => !name.startsWith('data:'))")
    assert asked == []
    assert opened.execute_script("return document.querySelectorAll('script, iframe, object, embed, svg, [onerror], [onload]').length") == 0
    assert opened.execute_script("return [...document.images].filter(image => !image.src.startsWith('data:') || !image.naturalWidth).length") == 0
    assert opened.execute_script("return [...document.links].filter(link => !/^(file|data|https):/.test(link.href)).map(link => link.href)") == []


def test_a_script_in_the_page_would_be_stopped(opened):
    """That no script runs does not hang on the escaping alone."""
    opened.execute_script("document.body.insertAdjacentHTML('beforeend', `<img src=x onerror=\"document.title='owned'\">`)")
    opened.execute_async_script("const done = arguments[0]; setTimeout(done, 300)")
    assert opened.title == "Inside an image classifier: run"


@pytest.mark.parametrize("name", list(map(visible, CLASSES)))
def test_each_name_is_shown_as_it_is(opened, name):
    cells = opened.execute_script("return [...document.querySelectorAll('#table-metrics_test tbody tr')].map(row => row.children[0].textContent.trim())")
    assert name in cells and len(cells) == len(CLASSES) + 1
    captions = opened.execute_script("return [...document.querySelectorAll('figcaption')].map(caption => caption.textContent)")
    assert any(f"highest scores for {name} belong" in caption for caption in captions) == (name in map(visible, RANKED))
    alts = opened.execute_script("return [...document.images].map(image => image.alt)")
    assert any(name in alt.replace("\u2068", "").replace("\u2069", "") for alt in alts)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_name_without_a_gap_stays_on_the_page(opened, width):
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500})
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width


def test_no_name_becomes_markup(opened):
    within = ", ".join(f"figcaption {tag}, .output_html {tag}:not(figure > div *)" for tag in ("i", "a[href^='java']", "math", "img", "code > b"))
    assert opened.execute_script("return [...document.querySelectorAll(arguments[0])].map(found => found.outerHTML.slice(0, 80))", within) == []
    rows = opened.execute_script("return [...document.querySelectorAll('#table-metrics_test tr')].map(row => row.children.length)")
    assert len(set(rows)) == 1


def test_tables_are_harmless_in_a_spreadsheet(hostile, opened):
    links = opened.execute_script("return [...document.querySelectorAll('a[download]')].map(link => link.href)")
    texts = [base64.b64decode(link.split(",")[1]).decode() for link in links] + [path.read_text() for path in hostile.rglob("*.csv")]
    cells = [cell for text in texts for row in csv.reader(io.StringIO(text)) for cell in row]
    assert len(links) > 10 and "'=1+1" in cells and not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t"))]
    labels = read_csv(hostile / "split.csv", texts=("path", "label"))["label"]
    assert set(labels) == set(CLASSES) and set(pd.read_csv(hostile / "split.csv")["label"]) != set(CLASSES)
