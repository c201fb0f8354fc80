"""A page with all the prose of the notebooks, and axe-core's rules on it in a browser."""

import os
import tarfile

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest

from inside import render
from inside.cli.profiles import NOTEBOOKS
from inside.files import ROOT
from inside.report.page import export_report
from inside.shown import Figure, Fold, Table, Text
from shared.run_folder import make_run_folder

AXE = ROOT / ".venv" / "axe-core-4.14.1.tgz"


def axe():
    """The source of axe-core; where it is missing, the test is skipped."""
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


def make_page(folder):
    """The address of a page of all the prose and code of the three notebooks, with made outputs."""
    run_folder, paths = make_run_folder(folder), []
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


def check(browser, page, width, theme, *, unfolded):
    """axe-core finds nothing serious on a page of this width in CSS pixels, and it does not move sideways as a whole."""
    open_page(browser, page, width, theme=theme, unfolded=unfolded)
    browser.execute_script(axe())
    browser.set_script_timeout(120)
    found = browser.execute_async_script("const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(done)")
    assert found["testEngine"]["version"] == "4.14.1" and len(found["passes"]) > 15
    assert [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found["violations"] if rule["impact"] in ("serious", "critical")] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
