"""A JupyterLab server that serves the notebooks, and what a user does in it, in a browser."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from inside.cli.profiles import NOTEBOOKS, notebook_parameters

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
    wait(find, 60, f"{text!r} is not to be seen").click()


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


def run_all(lab, browser, name):
    """Open a notebook and have all its cells run."""
    browser.get(f"{lab.address}/lab/tree/{name}?token={lab.token}&reset")
    wait(lambda: browser.find_elements("css selector", ".jp-Notebook .jp-Cell"), 60, "the notebook did not open")
    wait(lambda: any(one["path"] == name and one["kernel"]["execution_state"] == "idle" for one in lab.ask("api/sessions") or []),
         60, "no kernel started")
    click(browser, ".lm-MenuBar-itemLabel", "Run")
    click(browser, ".lm-Menu-itemLabel", "Restart Kernel and Run All Cells")
    click(browser, ".jp-Dialog .jp-mod-accept", "Restart")


def scroll(browser):
    """Bring the end of the notebook into view: cells far away are not drawn."""
    browser.execute_script("for (const e of document.querySelectorAll('.jp-WindowedPanel-outer')) e.scrollTop = e.scrollHeight")
