"""The page in a real browser, wide and narrow, light and dark, folded and unfolded: axe-core's rules, and what is cut off.

Skipped, with its reason, where the browser or axe-core is missing (`.ci/run` fetches both); BROWSER_TESTS=required makes that a
failure."""


import nbformat
import pandas as pd
import pytest

from inside import render
from inside.feature_maps.scenario_names import mark_frozen
from inside.feature_maps.shares import share_overview
from inside.report.page import export_report
from inside.shown import Table
from shared.accessibility import check, make_page, open_page

PAPER = 695  # CSS pixels that A4 has between the margins of the page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return make_page(tmp_path_factory.mktemp("page") / "run")


@pytest.mark.parametrize("width, theme", [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(browser, page, width, theme):
    """Unfolded; tests/soak/test_accessibility.py has the other ways to see the page."""
    check(browser, page, width, theme, unfolded=True)


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


def test_paper_cuts_nothing_off(browser, page):
    """As it is printed: folds closed, parameters there, no side bar, and nothing wider than the paper."""
    open_page(browser, page, PAPER, media="print")
    wide = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => e.getClientRects().length && e.getBoundingClientRect().right > arguments[0] + 1)"
        ".map(e => e.outerHTML.slice(0, 80))", PAPER)
    assert wide == []
    assert browser.execute_script("return [...document.querySelectorAll('details[open], .side, .contents')].filter(e => e.getClientRects().length).length") == 0
    assert browser.execute_script("return document.querySelector('#parameters').getClientRects().length") == 1
