"""Small sets of images that the tests share; drawn anew for each session, seconds of work."""

import os
import shutil

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

from inside.data.demo.scenes import write_demo_set
from inside.data.sources import open_dataset
from inside.data.split import split_images
from inside.data.table import decode_images

os.environ.setdefault("MPLBACKEND", "agg")
torch.set_num_threads(min(2, os.cpu_count() or 1))
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)  # the same examples in every run
hypothesis.settings.load_profile("same")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder of 120 drawn scenes, 20 a class; never changed by a test."""
    return write_demo_set(tmp_path_factory.mktemp("scenes") / "set", n_images=120, seed=3)


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
