"""What must hold before anything is written; all that is wrong is told at once, in two rounds.

The first round, the parameters one by one, is that of `inside.settings`, which imports nothing heavy. This is the second:
whether they fit together, and whether images, weights, layers, folders and room are there. It reads listings, outlines
networks on torch's meta device and asks once for each download; nothing is drawn, decoded, fetched or trained.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from inside import files
from inside.attribution.inputs import first_convolution, last_convolution
from inside.data.ignore import check_ignored, read_ignored
from inside.data.sources import list_dataset
from inside.data.split import check_split_fits, split_counts
from inside.device import choose_device
from inside.disk import check_room, needs
from inside.feature_maps.hooks import all_modules, check_layer
from inside.files import RunFolder, check_writable
from inside.models.build import check_architecture, require_weights
from inside.models.detectors import require_detector
from inside.models.outline import Outline, outline
from inside.models.saved import SavedModel
from inside.models.surgery import freeze
from inside.names import DATASETS, TRACKERS
from inside.processes import count_processes
from inside.selection.space import search_space
from inside.selection.study import check_storage, require_storage
from inside.selection.trainings import MOST_NETWORKS, Settings, channels_of, kind_of, map_size, measured_networks, trainings
from inside.settings import PARAMETERS, check_parameters, parameter_problems, parameters_where
from inside.text import brief, did_you_mean, errors_of, raise_all
from inside.training.compatible import check_batch_norm, check_network, is_random, with_overrides


def check(settings: Settings, numbers: Sequence[str]) -> None:
    """Raise one ValueError that tells all that would stop the notebooks `numbers`, such as ["01", "02"].

    `settings` are checked parameters, of all notebooks or of the one that is to run.
    """
    run, found = RunFolder(settings["RUN"], make=False), list[str]()
    found += folder_problems(run)
    found += errors_of(choose_device, settings["DEVICE"]) or errors_of(
        count_processes, settings["PROCESSES"], choose_device(settings["DEVICE"]))
    fit = settings_problems(settings) if _is_complete(settings) else errors_of(check_architecture, settings["ARCHITECTURE"])
    checks = image_checks(settings, numbers, run)
    checks += [partial(require_detector, settings["DETECTOR"])] if "02" in numbers and settings["DETECTOR"] else []
    if not fit:
        checks += weight_checks(settings, numbers)
        fit = network_problems(settings, numbers) + layer_problems(settings, numbers, run)
    with ThreadPoolExecutor(16) as pool:  # those that wait for an answer wait together
        raise_all([*found, *fit, *(problem for told in pool.map(errors_of, checks) for problem in told)])
    raise_all(errors_of(check_room, needs(settings, numbers, run)))


def _is_complete(settings: Settings) -> bool:
    return all(name in settings for name, parameter in PARAMETERS.items() if "1" in parameter.notebooks)


def folder_problems(run: RunFolder) -> list[str]:
    """Whether the run folder can be written (that nobody else works on it is held by inside.locks), and that of images."""
    return [*errors_of(check_writable, run.folder, "The results of the run"),
            *errors_of(check_writable, files.DATA, "Images")]


def settings_problems(settings: Settings) -> list[str]:
    """What is wrong with the settings of notebook 01, each alone and together; other names are ignored."""
    found = parameter_problems(settings) or [*errors_of(check_architecture, settings["ARCHITECTURE"])]
    if found:
        return found
    found = errors_of(check_network, settings) + errors_of(check_storage, settings["STUDY_STORAGE"])
    for tracker in settings["TRACKERS"]:
        if tracker not in TRACKERS:
            found += [f"TRACKERS names {brief(tracker)}: {did_you_mean(tracker, TRACKERS)}"]
        elif importlib.util.find_spec(tracker) is None:
            found += [f"TRACKERS names {tracker!r}, whose package is not installed: pip install {tracker}, or remove it "
                      "from TRACKERS."]
    for number, row in enumerate(settings["COMPARE"], 1):
        found += [f"COMPARE, row {number}: {problem}" for problem in row_problems(settings, row)]
    if settings["SEARCH_TRIALS"] and not found:
        found += errors_of(search_space, settings)
    return found


def row_problems(settings: Settings, row: object) -> list[str]:
    """What is wrong with a row of COMPARE."""
    if not isinstance(row, dict):
        return [f"it is {brief(row)}: expected dictionaries of changed parameters, such as {{\"STRATEGY\": \"head\"}}."]
    legal = parameters_where(comparable=True)
    found = [f"a row cannot change {brief(name)}; {did_you_mean(name, legal)}" for name in row if name not in legal]
    found += parameter_problems(row)
    if not found and "ARCHITECTURE" in row:
        found += errors_of(check_architecture, row["ARCHITECTURE"])
    return found or errors_of(lambda: check_network(check_parameters(with_overrides(settings, row))))


def check_settings(values: Settings) -> dict[str, Any]:
    """The notebook parameters in `values`; one ValueError tells all that does not fit. Those of notebook 01 are needed."""
    raise_all(settings_problems(values))
    return check_parameters(values)


def image_checks(settings: Settings, numbers: Sequence[str], run: RunFolder) -> list[Callable[[], object]]:
    """Checks that the data sets of the notebooks are there, and that split and batch fit the number of their images."""
    checks: list[Callable[[], object]] = []
    if "01" in numbers:
        checks.append(partial(check_images, settings))
    elif run.path("model.json").exists() and run.path("split.csv").exists():
        checks.append(partial(check_root, run))
    else:
        checks.append(partial(list_dataset, settings["DATASET"], demo_images=settings["DEMO_IMAGES"], labels=False))
    if set(numbers) & {"02", "03"}:  # a named set that cannot be fetched is a missing scenario, a wrong path a mistake
        checks += [partial(check_scenario, name, settings[name]) for name in ("IMAGENET_VAL", "CIFAR10")
                   if settings[name] not in DATASETS]
    return checks


def check_images(settings: Settings) -> None:
    """Raise ValueError unless the images of notebook 01 are there, and fit its split, batches, IGNORE and ranked classes."""
    dataset, sizes = settings["DATASET"], settings["SPLIT"]
    listed = list_dataset(dataset, demo_images=settings["DEMO_IMAGES"])
    if listed is None or dataset == "demo":  # the names of files that are not there yet are not known
        read_ignored(settings["IGNORE"])
    if listed is None:
        if dataset in ("digits", "photo_patches", "intel"):  # the others have test images of their own
            split_counts(DATASETS[dataset], sizes)
        return
    found, classes = errors_of(check_split_fits, listed, sizes), sorted(set(listed["label"]))
    if settings["BATCH_SIZE"] > len(listed):
        found += [f"BATCH_SIZE = {settings['BATCH_SIZE']} is more than the {len(listed)} images of the data set: lower it."]
    found += [f"RANKED_CLASSES names {brief(name)}, which is no class: {did_you_mean(name, classes)}"
              for name in settings["RANKED_CLASSES"] if name not in classes]
    found += [] if dataset == "demo" else errors_of(check_ignored, settings["IGNORE"], listed["path"].tolist())
    raise_all(found)


def check_root(run: RunFolder) -> None:
    """Raise ValueError unless the images of a finished notebook 01 are still where they were."""
    saved = SavedModel.read(run)
    if saved and not Path(saved.root).is_dir():
        raise ValueError(f"The images of the run {run.name!r} are no longer at {saved.root}: put them back, or run notebook "
                         "01 again.")


def check_scenario(name: str, dataset: str) -> None:
    """Raise ValueError unless the folder that the parameter `name` gives holds images."""
    raise_all(problem.replace("DATASET", name) for problem in errors_of(list_dataset, dataset, labels=False))


def weight_checks(settings: Settings, numbers: Sequence[str]) -> list[Callable[[], object]]:
    """Checks that the ImageNet weights of all trainings are there or can be fetched, and the database of the search."""
    if "01" not in numbers:
        return []  # notebooks 02 and 03 tell which scenario is missing, and go on
    if not settings["TRAIN"]:
        return [partial(SavedModel.of, RunFolder(settings["RUN"], make=False))]
    pretrained = dict.fromkeys(own["ARCHITECTURE"] for _, own in trainings(settings) if not is_random(own))
    checks: list[Callable[[], object]] = [partial(require_weights, architecture) for architecture in pretrained]
    return checks + ([partial(require_storage, settings["STUDY_STORAGE"])] if settings["SEARCH_TRIALS"] else [])


def network_problems(settings: Settings, numbers: Sequence[str]) -> list[str]:
    """What keeps the networks of notebook 01 from being built, frozen by STRATEGY, or run on images of IMAGE_SIZE."""
    if "01" not in numbers or not settings["TRAIN"]:
        return []
    found, seen = list[str](), set[str]()
    for part, own in trainings(settings):
        known = json.dumps([kind_of(own), own["STRATEGY"]])
        if known not in seen and len(seen) < MOST_NETWORKS:
            found += [part + problem for problem in errors_of(check_trainable, own)]
        seen.add(known)
    return found


def check_trainable(settings: Settings) -> None:
    """Raise ValueError unless the network can be built and frozen, and takes images of IMAGE_SIZE."""
    network = outline(**kind_of(settings))
    if network:
        freeze(network.model, settings["STRATEGY"])
        if not errors_of(choose_device, settings["DEVICE"]):  # told already
            check_batch_norm(settings, network.model, choose_device(settings["DEVICE"]))
        network.check_size("IMAGE_SIZE", settings["IMAGE_SIZE"])


def layer_problems(settings: Settings, numbers: Sequence[str], run: RunFolder) -> list[str]:
    """What is wrong with LAYERS, NEURON_LAYER and NEURONS of notebooks 02 and 03, and with MAP_SIZE for their networks."""
    if not set(numbers) & {"02", "03"}:
        return []
    found = [f"LAYERS names {brief(name)} twice: leave one of them out." for name in dict.fromkeys(settings["LAYERS"])
             if settings["LAYERS"].count(name) > 1]
    try:
        for kind in measured_networks(settings, numbers, run):
            if network := outline(**kind):
                found += _layers_of(network, settings, numbers)
    except ValueError as error:  # a network that cannot be built, a model.json that cannot be read
        found.append(str(error))
    return found


def _layers_of(network: Outline, settings: Settings, numbers: Sequence[str]) -> list[str]:
    modules, size = all_modules(network.model), map_size(network, settings)
    found = errors_of(network.check_size, "MAP_SIZE", size)
    shapes = network.shapes(size) if network.takes(size) else None
    named = [("LAYERS", name) for name in settings["LAYERS"]]
    if "02" in numbers:
        convolution = last_convolution(network.model) if first_convolution(network.model) else ""
        neurons = settings["NEURON_LAYER"] or convolution
        named += [("NEURON_LAYER", neurons)] if neurons else []
    for parameter, name in named:
        wrong = [f"{parameter}: {problem}" for problem in errors_of(check_layer, name, modules)]
        if not wrong and shapes is not None and name not in shapes:
            wrong = [f"{parameter}: the network never calls {name!r}; name another module."]
        elif not wrong and shapes and parameter == "NEURON_LAYER":
            channels = channels_of(network, name, size)
            wrong = [f"NEURONS: there is no channel {brief(channel)} in {name}; expected 0 to {channels - 1}."
                     for channel in settings["NEURONS"] if channels and not 0 <= channel < channels]
        found += wrong
    return found
