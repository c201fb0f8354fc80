"""How the stages of a run grow: ten times as many drawn images against as few, in seconds and as a ratio of at most 10.5.

Scan (every file decoded and hashed), near duplicates, suspected label errors (from the features of near duplicates), split,
one pass for features, one epoch of training, statistics of feature maps, the metrics with their intervals, and the report
from what these have written; a small network at 64×64. Both sets are drawn first, which is not timed.

    python benchmarks/scaling.py --few 1703 --many 17034
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from turns import Row, print_table

from inside import files
from inside.cli.profiles import NOTEBOOKS, notebook_parameters
from inside.curation.groups import group_near_duplicates
from inside.curation.label_issues import find_label_issues
from inside.data.demo.scenes import write_demo_set
from inside.data.sources import open_dataset
from inside.data.split import split_images
from inside.data.table import decode_images
from inside.evaluation.features import penultimate_features
from inside.evaluation.metrics import class_metrics
from inside.evaluation.predictions import predict, prediction_table
from inside.feature_maps.hooks import choose_layers
from inside.feature_maps.statistics import collect_statistics
from inside.report.page import export_report
from inside.training.experiment import Experiment
from inside.training.loop import Trainer

SETTINGS = {"ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": 64, "BATCH_SIZE": 32, "EPOCHS": 1}


def stages(folder: Path, cache: Path) -> dict[str, float]:
    """Seconds of each stage on the images of a folder; `cache`: an empty place for decoded images and features."""
    files.DATA = cache
    found: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        found[name] = time.perf_counter() - start
        print(f"  {name}: {found[name]:.2f} s", flush=True)
        return result
    settings = notebook_parameters(next(NOTEBOOKS.glob("01_*.ipynb"))) | SETTINGS
    images = timed("scan", lambda: decode_images(open_dataset(str(folder)), cache=cache)[0])
    grouped, near = timed("near duplicates", lambda: group_near_duplicates(images, "always"))
    timed("label errors", lambda: find_label_issues(grouped, True, near))
    split = timed("split", lambda: split_images(grouped, [0.7, 0.12, 0.18], seed=0))
    experiment = Experiment(settings, split)
    unaugmented = experiment.loader("train", learning=False)
    timed("features", lambda: penultimate_features(experiment.model, unaugmented))
    trainer = Trainer(experiment.model, experiment.loaders["train"], experiment.recipe, 6, experiment.precision)
    timed("training", lambda: trainer.train_epoch(experiment.loaders["train"], bar=False))
    timed("statistics", lambda: collect_statistics(experiment.model, unaugmented, choose_layers(experiment.model)))
    scores, losses = predict(experiment.model, experiment.loaders["test"])
    table = prediction_table(split.parts["test"], scores, losses, split.classes)
    metrics = timed("metrics", lambda: class_metrics(table, split.classes))
    run = files.RunFolder(str(cache / "run"))
    split.save(run.path("split.csv"))
    for name, content in (("predictions_test.csv", table), ("metrics_test.csv", metrics)):
        files.write_csv(run.path(name), content)
    book = shutil.copy(next(NOTEBOOKS.glob("01_*.ipynb")), run.folder)
    timed("report", lambda: export_report([Path(book)], run.path("report.html")))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=1703)
    parser.add_argument("--many", type=int, default=17034)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        for n in (options.few, options.many):
            write_demo_set(place / str(n), n_images=n)
        few, many = (stages(place / str(n), place / f"cache of {n}") for n in (options.few, options.many))
    print_table([Row(f"{name}: {options.many:,} images, to {options.few:,}", [many[name] / few[name]], at_most=10.5)
                 for name in few])
