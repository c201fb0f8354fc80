"""Fixtures of all tests: small sets of images, drawn anew for each session, runs on them, browsers; and settings of the tests."""

import os
import shutil
import signal

import hypothesis
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from PIL import Image

from inside.attribution.inputs import Inspection
from inside.cli.main import main
from inside.data.demo.scenes import write_demo_set
from inside.data.sources import open_dataset
from inside.data.split import split_images
from inside.data.table import decode_images
from inside.files import RunFolder
from inside.models.saved import load_network
from inside.models.scratch import ConvNetGAP
from shared.attribution import CLASSES, seeded
from shared.kernels import forked
from shared.whole_runs import INSIDE, arguments, inside

os.environ.setdefault("MPLBACKEND", "agg")
plt.switch_backend(os.environ["MPLBACKEND"])
signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C is tested, also where a shell starts the tests in the background
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1))  # xdist has a process a core
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)  # the same examples in every run
hypothesis.settings.load_profile("same")

@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder of 120 drawn scenes, 20 a class; never changed by a test."""
    return write_demo_set(tmp_path_factory.mktemp("scenes") / "set", n_images=120, seed=3)


@pytest.fixture(scope="session")
def make_once(tmp_path_factory):
    """make_once(name, make): the folder that make(folder) fills, in the first of the processes of the tests that needs it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make_once(name, make):
        folder, made = base / name, base / f"{name}.made"
        with FileLock(base / f"{name}.lock"):
            if not made.exists():
                make(folder)
                made.touch()
        return folder
    return make_once


@pytest.fixture(scope="session")
def flawed(scenes, make_once):
    """The scenes with flaws: a file that is no image, a duplicate, and one image under two labels; never changed by a test."""
    def make(folder):
        shutil.copytree(scenes, folder)
        (folder / "sea" / "broken.jpg").write_text("no image")
        shutil.copy(folder / "forest" / "00001.jpg", folder / "forest" / "copy.jpg")
        shutil.copy(folder / "street" / "00002.jpg", folder / "buildings" / "wrong.jpg")
    return make_once("flawed", make)


@pytest.fixture(scope="session")
def finished(flawed, make_once):
    """The folder of one whole run of notebook 01 with its report, under a name that is hard on a command line; never changed by a test."""
    def make(folder):
        with forked():
            assert main(arguments(folder, flawed)) == 0
    return make_once("ein {Lauf} 'für' $HOME %d 🌲 " + "x" * 160, make)


@pytest.fixture(scope="session")
def looked(finished, flawed, make_once):
    """A copy of the finished run with notebooks 02 and 03, on two layers; never changed by a test."""
    layers = [name for name in dict(load_network(RunFolder(str(finished)))[0].named_modules()) if "conv1" in name][:2]

    def make(folder):
        shutil.copytree(finished, folder)
        with forked():
            assert main(inside(folder, flawed, "02", "03", **INSIDE | {"LAYERS": str(layers)})) == 0
    return make_once("looked", make), layers


@pytest.fixture
def make_folder(tmp_path):
    """make_folder({"cats": 3, "dogs": 4}): a folder of class folders with different noise images of 12×10 pixels."""
    def make(sizes, name="images"):
        rng = np.random.default_rng(0)
        for label, count in sizes.items():
            (tmp_path / name / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / label / f"{number}.png")
        return tmp_path / name
    return make


@pytest.fixture(scope="session")
def split(scenes, tmp_path_factory):
    """The split of the drawn scenes, as experiments and searches take it."""
    images, _ = decode_images(open_dataset(str(scenes)), cache=tmp_path_factory.mktemp("cache"))
    return split_images(images, [0.6, 0.2, 0.2], seed=0)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium, headless, with a profile of its own and without a network but this machine."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        missing = f"{'Chromium' if not chromium else 'chromedriver'} is not installed"
        (pytest.fail if os.environ.get("BROWSER_TESTS") == "required" else pytest.skip)(missing)
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic", "no-first-run",
                 "disable-background-networking", "disable-component-update", "disable-sync", "window-size=1500,1100",
                 "host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost",
                 f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def lab(scenes, browser, tmp_path_factory):
    """A JupyterLab server with the notebooks, their parameters those of a small run."""
    from shared.jupyterlab import Lab
    found = Lab(tmp_path_factory.mktemp("a lab"), scenes)
    yield found
    found.close()


@pytest.fixture
def one_thread():
    """Small inputs: threads would only wait for each other. Figures are closed afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    plt.close("all")


@pytest.fixture
def inspected(tmp_path):
    """An Inspection of six images of two classes, and the network's own predictions of them."""
    rng = np.random.default_rng(0)
    for index in range(6):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    model = seeded(ConvNetGAP, 2, widths=[6, 8])
    inspection = Inspection(model, {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}, 32, tmp_path)
    paths = [f"{index}.png" for index in range(6)]
    with torch.no_grad():
        scores = model(inspection.load(paths)).softmax(1).double().numpy()
    predicted = [CLASSES[index] for index in scores.argmax(1)]
    label = [name if index < 4 else CLASSES[1 - CLASSES.index(name)] for index, name in enumerate(predicted)]
    table = pd.DataFrame({"path": paths, "label": label, "predicted": predicted, "confidence": scores.max(1),
                          "prob_a": scores[:, 0], "prob_b": scores[:, 1]})
    return inspection, table
