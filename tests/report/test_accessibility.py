"""The page in a real browser, wide and narrow, light and dark, folded and unfolded: axe-core's rules, and what is cut off.

Skipped, with its reason, where the browser or axe-core is missing (`.ci/run` fetches both); BROWSER_TESTS=required makes that a
failure."""

import os
import re
import shutil
import subprocess
import tarfile

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest

from inside import render
from inside.cli.profiles import NOTEBOOKS
from inside.feature_maps.scenario_names import mark_frozen
from inside.feature_maps.shares import share_overview
from inside.files import ROOT
from inside.many_runs import compare_runs
from inside.report.page import export_report
from inside.shown import Figure, Fold, Table, Text
from shared.invented import invent_images, invent_run

AXE = ROOT / ".venv" / "axe-core-4.14.1.tgz"
PAPER = 695  # CSS pixels that A4 has between the margins of the page


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core."""
    if not AXE.exists():
        missing = "axe-core is not here: npm pack --pack-destination .venv axe-core@4.14.1"
        (pytest.fail if os.environ.get("BROWSER_TESTS") == "required" else pytest.skip)(missing)
    with tarfile.open(AXE) as packed:
        return packed.extractfile("package/axe.min.js").read().decode()


def shown(number):
    """Outputs as `Run.show` gives them: wide and long tables, a figure, a fold, and a log."""
    wide = pd.DataFrame({f"a long name of column {column}": np.arange(20.0) for column in range(14)})
    fig, ax = plt.subplots(figsize=(10, 3))
    ax.plot([1, 2, 3])
    fig.savefig(saved := f"/tmp/{os.getpid()}.png")
    plt.close(fig)
    with open(saved, "rb") as file:
        picture = file.read()
    os.unlink(saved)
    parts = [render.table_html(Table(wide.head(5), f"wide{number}", "Five rows."), "1.1"),
             render.table_html(Table(wide, f"long{number}", "Twenty rows."), "1.2"),
             render.figure_html(Figure(fig, f"line{number}", "A line that rises from 1 to 3"), "1.1", picture, 960),
             render.fold_html(Fold("Details", (Text("x"),)), "<p>More.</p>")]
    return [nbformat.v4.new_output("display_data", {"text/html": part}) for part in parts] + [
        nbformat.v4.new_output("stream", name="stdout", text="a line\n" * 9)]


@pytest.fixture(scope="module")
def page(make_run_folder, tmp_path_factory):
    """The address of a page of all the prose and code of the three notebooks, with made outputs."""
    run_folder, paths = make_run_folder(tmp_path_factory.mktemp("page") / "run"), []
    for number, path in enumerate(sorted(NOTEBOOKS.glob("*.ipynb"))):
        book = nbformat.read(path, as_version=4)
        for place, cell in enumerate(cell for cell in book.cells if cell.cell_type == "code" and "helpers" not in cell.source):
            cell.outputs = shown(f"{number}_{place}") if place % 5 == 1 else []
        nbformat.write(book, run_folder / path.name)
        paths.append(run_folder / path.name)
    return export_report(paths, run_folder / "report.html").as_uri()


def open_page(browser, page, width, *, media="screen", theme="light", unfolded=False):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [{"name": "prefers-color-scheme", "value": theme}]})
    browser.get(page)
    if unfolded:
        browser.execute_script("document.querySelectorAll('details').forEach(fold => fold.open = true)")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """The address of a page that compares three runs, one of them on other images."""
    folder, right = tmp_path_factory.mktemp("comparison"), np.arange(60)
    runs = [invent_run(folder / "a-long-name-of-a-run-with-a-learning-rate-of-0.001", right < 55, maps=True), invent_run(folder / "b", right < 40),
            invent_run(folder / "c", right < 50, images=invent_images(20, seed=1))]
    return compare_runs(runs, folder / "compare.html").as_uri()


@pytest.mark.parametrize("width, theme", [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_serious_in_a_comparison(browser, axe, comparison, width, theme):
    assert serious(browser, axe, comparison, width, theme=theme, unfolded=True) == []


def serious(browser, axe, page, width, **options):
    """What axe-core finds that is serious; nothing may move sideways as a whole."""
    open_page(browser, page, width, **options)
    browser.execute_script(axe)
    browser.set_script_timeout(120)
    found = browser.execute_async_script("const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(done)")
    assert found["testEngine"]["version"] == "4.14.1" and len(found["passes"]) > 15
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    return [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found["violations"] if rule["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("width, theme, unfolded", [
    (1280, "light", True), (390, "dark", True), *(pytest.param(*view, marks=pytest.mark.soak) for view in (
        (1280, "dark", True), (390, "light", True), (1280, "light", False), (390, "dark", False)))])
def test_axe_finds_nothing_serious(browser, axe, page, width, theme, unfolded):
    assert serious(browser, axe, page, width, theme=theme, unfolded=unfolded) == []


def test_the_table_of_shares_fits_a_laptop(browser, run_folder):
    """With four scenarios and several draws of random weights, whose last column was out of sight."""
    scenarios = {"finetuned_own": 1, "imagenet_own": 1, "imagenet_photo_patches": 1, "imagenet_digits": 1, "random_own": 5}
    shares = pd.DataFrame([{"scenario": name, "draw": draw, "layer": f"blocks.{layer}.0.conv_pwl", "non_positive_share": 0.457}
                           for name, draws in scenarios.items() for draw in range(1, draws + 1) for layer in range(3)])
    table = Table(mark_frozen(share_overview(shares), ["blocks.0.0.conv_pwl"]), "shares")
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("display_data", {"text/html": render.table_html(table, "2.7")})])
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Feature maps"), cell]), book := run_folder / "02_x.ipynb")
    open_page(browser, export_report([book], run_folder / "report.html").as_uri(), 1280)
    inner, outer = browser.execute_script("const e = document.querySelector('#table-shares .scroll'); return [e.scrollWidth, e.clientWidth]")
    assert 900 < inner <= outer


def test_subscripts_are_lowered_where_a_font_for_formulas_is_installed(browser, page):
    named = re.search(r"math\{[^}]*font-family:([^}]+)\}", (ROOT / "inside/report/page.css").read_text(encoding="utf-8"))[1]
    fonts = re.findall(r'"([^"]+)"', named)
    if not shutil.which("fc-list") or not set(fonts) & set(subprocess.run(["fc-list", ":", "family"], capture_output=True, text=True).stdout.splitlines()):
        pytest.skip(f"None of {fonts} is installed")
    open_page(browser, page, 1280, unfolded=True)
    lowered = browser.execute_script("""return [...document.querySelectorAll('msub')].filter(found => found.textContent == 'Pn').map(found =>
        found.children[1].getBoundingClientRect().bottom - found.children[0].getBoundingClientRect().bottom)""")
    assert lowered and min(lowered) > 2  # pixels; "AP = Σ (R_n − R_n−1) P_n" of notebook 01: with other fonts, they stand on the line


def test_paper_cuts_nothing_off(browser, page):
    """As it is printed: folds closed, parameters there, no side bar, and nothing wider than the paper."""
    open_page(browser, page, PAPER, media="print")
    wide = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => e.getClientRects().length && e.getBoundingClientRect().right > arguments[0] + 1)"
        ".map(e => e.outerHTML.slice(0, 80))", PAPER)
    assert wide == []
    assert browser.execute_script("return [...document.querySelectorAll('details[open], .side, .contents')].filter(e => e.getClientRects().length).length") == 0
    assert browser.execute_script("return document.querySelector('#parameters').getClientRects().length") == 1
