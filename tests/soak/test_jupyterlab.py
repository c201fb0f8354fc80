"""make soak: the notebooks in a real JupyterLab in a real browser: restart and run all, then a control of each panel changed."""

import nbformat
import pytest

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
