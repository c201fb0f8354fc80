"""make soak: the notebooks in a real JupyterLab in a real browser: restart and run all, then a control of each panel changed.

What JupyterLab shows of hostile names, too."""

from pathlib import Path

import nbformat
import pytest

from inside.text import visible
from shared.hostile import CLASSES
from shared.jupyterlab import BOOKS, change, click, run_all, scroll, wait

CHANGES = {"01": [("true class", "sea"), ("order", "lowest score first")], "02": [("layer", "layer1.0.conv1"), ("class", "sea")],
           "03": [("scenarios", "random_own"), ("linear", "share of variance, log-log")]}


@pytest.mark.parametrize("book", BOOKS, ids=lambda path: path.stem[:2])
def test_restart_and_run_all_then_change_a_control(lab, browser, book):
    run_all(lab, browser, book.name)
    results = lab.run / f"{book.name[:2]}_results.json"
    wait(results.exists, 180, f"{book.name} did not reach its last cell")

    panel = wait(lambda: browser.find_elements("css selector", ".jp-OutputArea-output .widget-vbox") or scroll(browser), 30,
                 "the panel is not to be seen")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'start'})", panel)
    for label, value in CHANGES[book.name[:2]]:
        before = wait(lambda: pictures(panel), 20, "the panel shows no picture")
        change(browser, panel, label, value)
        wait(lambda before=before: [one for one in pictures(panel) if one not in before], 20,
             f"the picture did not change with {label} = {value}")
        wait(lambda: len(pictures(panel)) == 1, 5, "the picture before is still there")
        wait(lambda: "drawn in" in panel.text, 20, "the panel does not say that it is done")
    picture = panel.find_element("css selector", ".jp-OutputArea img")
    assert int(picture.get_property("naturalWidth")) > 300 and len(picture.get_attribute("alt")) > 20
    assert "Error" not in panel.text
    browser.execute_script("arguments[0].scrollIntoView({block: 'start'})", panel)
    browser.save_screenshot(str(lab.folder / f"panel_{book.name[:2]}.png"))

    click(browser, ".lm-MenuBar-itemLabel", "File")
    click(browser, ".lm-Menu-itemLabel", "Save Notebook")
    saved = wait(lambda: finished(lab.folder / book.name), 20, "the notebook was not saved with all its cells run")
    outputs = [output for cell in saved.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("done in" in output.get("text", "") for output in outputs)


def pictures(panel):
    """The addresses of the pictures that a panel shows."""
    try:
        return [image.get_attribute("src") for image in panel.find_elements("css selector", ".jp-OutputArea img")]
    except Exception as error:  # it is being drawn anew
        if type(error).__name__ != "StaleElementReferenceException":
            raise
        return []


def finished(path):
    """The notebook as it is on disk, once every code cell has run."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except nbformat.reader.NotJSONError:  # half written: it is being saved
        return None
    ran = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    return notebook if all(ran) else None


NAMES = """import sys
sys.path[:0] = [{tests!r}]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pathlib import Path
from PIL import Image
from helpers import Run
from inside.attribution.inputs import Inspection
from inside.models.scratch import ConvNetGAP
from inside.panels import browse_predictions, browse_views
from inside.shown import Figure, Fold, Table, Text
from inside.text import literal
from shared.hostile import CLASSES, FILES
rng, files = np.random.default_rng(0), (FILES * 2)[:len(CLASSES)]
for file in files:
    Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(file)
scores = dict((f"prob_{{name}}", 1 / len(CLASSES)) for name in CLASSES)
table = pd.DataFrame(dict(path=files, label=CLASSES, predicted=CLASSES, confidence=0.5) | scores)
model = ConvNetGAP(len(CLASSES), widths=[6, 8]).eval()
inspection = Inspection(model, dict(mean=[0.5] * 3, std=[0.25] * 3, interpolation="bilinear"), 32, Path(), table, CLASSES)
display(browse_predictions(table, Path(), CLASSES), browse_views(inspection, []))
told = "; ".join(map(literal, CLASSES))
run = Run(dict(RUN={run!r}, DEVICE="cpu"), "01")
drawing, ax = plt.subplots()
run.show(Text(told), Table(table[["path", "label"]], "names", told, rows=99), Figure(drawing, "names", told, told),
         Fold(CLASSES[2], (Text(told),)))
print(told)
raise ValueError(f"{{CLASSES[0]}} {{CLASSES[2]!r}}")"""


def test_names_are_names_in_jupyterlab(lab, browser):
    """Names of classes and files are shown as they are: in panels, texts, tables, captions, folds, prints and errors."""
    source = NAMES.format(tests=str(Path(__file__).parents[1]), run=str(lab.folder / "names"))
    book = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
                                    cells=[nbformat.v4.new_code_cell(source)])
    nbformat.write(book, lab.folder / "names.ipynb")
    run_all(lab, browser, "names.ipynb")
    outputs = wait(lambda: browser.find_elements("css selector", ".jp-Cell-outputArea"), 60, "there is no output")[0]
    wait(lambda: "Traceback" in plain(outputs), 120, "the cell did not come to its end")
    wait(lambda: len(outputs.find_elements("tag name", "img")) == 3, 60, "a picture is missing")
    seen = [visible(name) for name in CLASSES]

    first, second = outputs.find_elements("css selector", ".jp-OutputArea-output .widget-vbox")
    for panel, box in ((first, 0), (first, 1), (second, 1)):
        options = panel.find_elements("css selector", "select")[box].find_elements("css selector", "option")
        assert [plain(option) for option in options][1:] == seen
    change(browser, first, "true class", seen[2])
    click(browser, ".widget-toggle-button", "wrong")
    wait(lambda: f"There is no image of {seen[2]} that" in plain(first), 60, "the panel does not say that there is none")
    change(browser, second, "class", seen[0])
    wait(lambda: f"guided gradient of {seen[0]}, score" in plain(second), 60, "the panel does not name the class")

    browser.save_screenshot(str(lab.folder / "names.png"))
    assert plain(outputs).count("; ".join(seen)) == 5  # text, two captions, fold, print
    rows = outputs.find_elements("css selector", ".jp-RenderedHTMLCommon tbody tr")
    assert [row.find_elements("tag name", "td")[1].get_property("textContent") for row in rows] == seen
    assert "owned" not in browser.title
    script = ", ".join(f".jp-OutputArea-output {found}" for found in (
        "script", "[onload]", "[onerror]", "mjx-container", ".MathJax", "a[href^=javascript]", "em", "strong", "code", "img[src=x]"))
    assert [found.get_attribute("outerHTML")[:80] for found in browser.find_elements("css selector", script)] == []


def plain(element):
    """The text of an element, without the marks around names; a list's options have no-break spaces in place of spaces."""
    return element.get_property("textContent").translate({0x2068: None, 0x2069: None, 0xa0: " "})
