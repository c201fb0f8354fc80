"""Settings of notebook 01 for a tiny network."""

from inside.cli.profiles import NOTEBOOKS, notebook_parameters

BOOK = sorted(NOTEBOOKS.glob("*.ipynb"))[0]


TINY = {"ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": 32, "EPOCHS": 2, "BATCH_SIZE": 16, "LEARNING_RATE": 0.01,
        "PRECISION": "float32", "AUGMENTATION": "none"}


def settings(**changes):
    return notebook_parameters(BOOK) | TINY | changes
