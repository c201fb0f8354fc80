"""Small whole runs of the notebooks: their parameters, and what is read from their folders."""

import json

import pandas as pd

# of notebook 01
TINY = {"ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": "32", "EPOCHS": "2", "SEARCH_TRIALS": "2",
        "SEARCH_SPACE": "{'lr': [0.005, 0.02, 'log'], 'label_smoothing': [0.0, 0.1]}", "SEARCH_EPOCHS": "1", "SEARCH_IMAGES": "30",
        "FINAL_SEEDS": "1", "LEARNING_RATE": "0.01", "BATCH_SIZE": "16", "INTERACTIVE": "false", "RANKED_CLASSES": "['forest']",
        "SAMPLE_GRID": "[2, 3]"}
# of notebooks 02 and 03
INSIDE = {"N_IMAGES": 14, "MAP_SIZE": 64, "TOP_K": 9, "RESAMPLES": 20, "OVERLAP_DIRECTIONS": 3, "RESOLUTION_CONTROL": "false",
          "NEURON_LAYER": "", "NEURONS": "[3, 1]", "RANDOMISED_IMAGES": 3, "RANDOM_DRAWS": 2, "OCCLUDED_IMAGES": 5, "DETECTOR": "",
          "LAYERS": "['stem.conv1', 'stages.1.0.conv1_1x1']", "IMAGENET_VAL": "photo_patches", "CIFAR10": "digits"}


def arguments(folder, dataset, **changes):
    settings = {"RUN": str(folder), "DATASET": str(dataset)} | TINY | {name: str(value) for name, value in changes.items()}
    return ["demo", "--only", "01", *(word for name, value in settings.items() for word in ("-p", name, value))]


def inside(folder, dataset, *numbers, **changes):
    words = arguments(folder, dataset, **changes)
    return [words[0], "--only", *numbers, *words[3:]]


def results(folder):
    return json.loads((folder / "01_results.json").read_text())


def model_of(folder):
    return json.loads((folder / "model.json").read_text())


def split_of(folder):
    return pd.read_csv(folder / "split.csv").set_index("path")["split"]
