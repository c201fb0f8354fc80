"""The notebooks in a real JupyterLab in a real browser: restart and run all, then a control of each panel changed.

Skipped, with its reason, where Chromium or its driver is missing; BROWSER_TESTS=required makes that a failure."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import psutil
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from inside.cli.profiles import NOTEBOOKS, notebook_parameters
from inside.files import ROOT
from inside.text import visible
from shared.hostile import CLASSES

BOOKS = sorted(NOTEBOOKS.glob("*.ipynb"))
SMALL = {"ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": 64, "MAP_SIZE": 64, "EPOCHS": 1,
         "SEARCH_TRIALS": 0, "BATCH_SIZE": 16, "RANKED_CLASSES": ["sea"], "N_IMAGES": 12, "RESAMPLES": 10, "OCCLUDED_IMAGES": 4,
         "RANDOMISED_IMAGES": 2}


class Lab:
    """A JupyterLab server on a folder of its own that holds the notebooks with small parameters."""

    def __init__(self, folder, dataset):
        self.folder, self.run, self.token = folder, folder / "run", secrets.token_hex(8)
        for book in BOOKS:
            given = {"RUN": str(self.run), "DATASET": str(dataset)} | SMALL
            known = notebook_parameters(book)
            notebook = parameterize_notebook(load_notebook_node(str(book)), {k: v for k, v in given.items() if k in known})
            nbformat.write(notebook, folder / book.name)
        with socket.socket() as free:
            free.bind(("localhost", 0))
            self.address = f"http://localhost:{free.getsockname()[1]}"
        own = {f"JUPYTER{name}_DIR": str(folder / "settings" / name) for name in ("_CONFIG", "LAB_SETTINGS", "LAB_WORKSPACES")}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}",
                   f"--ServerApp.port={self.address.rpartition(':')[2]}", f"--IdentityProvider.token={self.token}",
                   "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
        self.log = open(folder / "lab.log", "w")
        self.server = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT,
                                       env=os.environ | own | {"JUPYTER_PREFER_ENV_PATH": "1"})
        wait(lambda: self.ask("api/status"), 60, "JupyterLab did not start")

    def ask(self, what):
        """An answer of the server's, None while it gives none."""
        try:
            with urllib.request.urlopen(f"{self.address}/{what}?token={self.token}", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    def close(self):
        self.server.terminate()
        self.server.wait(20)
        self.log.close()


@pytest.fixture(scope="module")
def lab(scenes, browser, tmp_path_factory):
    found = Lab(tmp_path_factory.mktemp("a lab"), scenes)
    yield found
    found.close()


def wait(condition, seconds, message):
    """What `condition()` gives as soon as it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{message} within {seconds} s")


def click(browser, selector, text):
    """Click the visible element whose text begins with `text`."""
    def find():
        return next((item for item in browser.find_elements("css selector", selector)
                     if item.is_displayed() and item.text.strip().startswith(text)), None)
    wait(find, 20, f"{text!r} is not to be seen").click()


def change(browser, panel, label, value):
    """Change one control of a panel: the option `value` of the list that begins with `label`."""
    from selenium.webdriver.support.ui import Select
    box = next(box for box in panel.find_elements("css selector", ".widget-dropdown, .widget-select-multiple, .widget-radio")
               if box.text.strip().startswith(label))
    if "widget-radio" in box.get_attribute("class"):
        next(item for item in box.find_elements("css selector", "label") if item.text.strip() == value).click()
        return
    select = Select(box.find_element("tag name", "select"))
    if select.is_multiple:
        select.deselect_all()
    select.select_by_visible_text(value)


CHANGES = {"01": [("true class", "sea"), ("order", "lowest score first")], "02": [("layer", "layer1.0.conv1"), ("class", "sea")],
           "03": [("scenarios", "random_own"), ("linear", "share of variance, log-log")]}


def run_all(lab, browser, name):
    """Open a notebook and have all its cells run."""
    browser.get(f"{lab.address}/lab/tree/{name}?token={lab.token}&reset")
    wait(lambda: browser.find_elements("css selector", ".jp-Notebook .jp-Cell"), 60, "the notebook did not open")
    wait(lambda: any(one["path"] == name and one["kernel"]["execution_state"] == "idle" for one in lab.ask("api/sessions") or []),
         60, "no kernel started")
    click(browser, ".lm-MenuBar-itemLabel", "Run")
    click(browser, ".lm-Menu-itemLabel", "Restart Kernel and Run All Cells")
    click(browser, ".jp-Dialog .jp-mod-accept", "Restart")


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
    source = NAMES.format(tests=str(Path(__file__).parent), run=str(lab.folder / "names"))
    book = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
                                    cells=[nbformat.v4.new_code_cell(source)])
    nbformat.write(book, lab.folder / "names.ipynb")
    run_all(lab, browser, "names.ipynb")
    outputs = wait(lambda: browser.find_elements("css selector", ".jp-Cell-outputArea"), 20, "there is no output")[0]
    wait(lambda: "Traceback" in plain(outputs), 120, "the cell did not come to its end")
    wait(lambda: len(outputs.find_elements("tag name", "img")) == 3, 20, "a picture is missing")
    seen = [visible(name) for name in CLASSES]

    first, second = outputs.find_elements("css selector", ".jp-OutputArea-output .widget-vbox")
    for panel, box in ((first, 0), (first, 1), (second, 1)):
        options = panel.find_elements("css selector", "select")[box].find_elements("css selector", "option")
        assert [plain(option) for option in options][1:] == seen
    change(browser, first, "true class", seen[2])
    click(browser, ".widget-toggle-button", "wrong")
    wait(lambda: f"There is no image of {seen[2]} that" in plain(first), 20, "the panel does not say that there is none")
    change(browser, second, "class", seen[0])
    wait(lambda: f"guided gradient of {seen[0]}, score" in plain(second), 20, "the panel does not name the class")

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


def scroll(browser):
    """Bring the end of the notebook into view: cells far away are not drawn."""
    browser.execute_script("for (const e of document.querySelectorAll('.jp-WindowedPanel-outer')) e.scrollTop = e.scrollHeight")


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


def test_make_lab_listens_on_this_machine_only_and_wants_a_token(tmp_path):
    """Also for a user whose own configuration has neither."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    open_to_all = {"ip": "0.0.0.0", "port": port, "token": "", "open_browser": False, "allow_root": True}
    settings = {"ServerApp": open_to_all, "IdentityProvider": {"token": ""}, "PasswordIdentityProvider": {"token": ""}}
    (tmp_path / "jupyter_server_config.json").write_text(json.dumps(settings))
    recipe = subprocess.check_output(["make", "--silent", "--dry-run", "--assume-old=.venv/installed", f"PY={sys.executable}", "lab"], cwd=ROOT, text=True)
    server = subprocess.Popen(["sh", "-c", f"exec {recipe.strip()}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              env=os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)})
    try:
        token = server.stdout.readline().split()[-1]
        wait(lambda: status(port, token) == 200, 60, "JupyterLab did not start")
        assert len(token) == 48 and status(port, "") == status(port, "x") == 403
        process = psutil.Process(server.pid)
        assert {found.laddr.ip for found in process.net_connections() if found.status == "LISTEN"} == {"127.0.0.1"}
        assert token not in " ".join(process.cmdline())
    finally:
        server.terminate()
        server.communicate(timeout=20)


def status(port, token):
    """The status with which a server answers who asks for the sessions; None while it gives none."""
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/api/sessions?token={token}", timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
