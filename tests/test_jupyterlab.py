"""What a real JupyterLab shows in a real browser, and who may ask it; the notebooks in it are run by tests/soak/test_jupyterlab.py.

Skipped, with its reason, where Chromium or its driver is missing; BROWSER_TESTS=required makes that a failure."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import psutil

from inside.files import ROOT
from inside.text import visible
from shared.hostile import CLASSES
from shared.jupyterlab import change, click, run_all, wait

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
