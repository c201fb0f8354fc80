"""Names of classes and files as nobody should trust them, and a run on images of these names."""

import shutil

import numpy as np
from PIL import Image

CLASSES = ["<svg onload=document.title='owned'>", "<img src=x onerror=document.title='owned'>", "$x$", "a|b", "**bold** _i_ [l](javascript:alert(1))",
           "`code` \\frac{1}{2}", "=1+1", "{{ 7*7 }} &amp;", "森林", "غابة", "n" * 120, "👩\u200d🌾 café",
           "\x1b[31mred\x1b[2J\nline \u202eback"]
FILES = ["1.png", "$2$ | `x`.png", "<b>3.png", "=4.png", "5\n6.png", "\x1b[31m6.png", *(f"{number}.png" for number in range(7, 13))]
SETTINGS = {"ARCHITECTURE": "convnet_gap", "ARCHITECTURE_OPTIONS": "{'widths': [6, 8]}", "WEIGHTS": "random", "IMAGE_SIZE": "32", "EPOCHS": "1",
            "SEARCH_TRIALS": "0", "COMPARE": "[]", "BATCH_SIZE": "8", "INTERACTIVE": "false", "SPLIT": "[0.5, 0.2, 0.3]", "N_IMAGES": "12",
            "RANDOM_DRAWS": "1", "RANDOMISED_IMAGES": "2", "OCCLUDED_IMAGES": "2", "RESAMPLES": "20", "TOP_K": "5", "SAMPLE_GRID": "[2, 3]"}


def hostile_run(place, folder, *more, ranked):
    """The words of a run on images of hostile names, which are written into `place`; two images are the same, under two labels."""
    images, rng = place / "$y$ <b>", np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (images / name).mkdir(parents=True)
        for file in FILES:
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) // 2 + 12 * number
            Image.fromarray(pixels.astype(np.uint8)).save(images / name / file)
    shutil.copy(images / CLASSES[0] / FILES[0], images / CLASSES[1] / "again.png")
    settings = SETTINGS | {"DATASET": str(images), "RANKED_CLASSES": str(ranked)}
    return ["demo", "--name", str(folder), *(word for name, value in settings.items() for word in ("-p", name, value)), *more]
