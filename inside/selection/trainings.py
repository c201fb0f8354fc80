"""The trainings that the settings of notebook 01 ask for, and the outlines of their networks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inside.feature_maps.hooks import gives_channels_last
from inside.files import RunFolder
from inside.models.outline import Outline
from inside.models.saved import SavedModel
from inside.selection.space import applies, search_space, values_of, with_trial_params
from inside.training.compatible import with_overrides

Settings = Mapping[str, Any]
MOST_NETWORKS = 30  # that are outlined for one search


def trainings(settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what they are part of, their settings) of the trainings of notebook 01; of a search, each change by itself."""
    yield "", dict(settings)
    for number, row in enumerate(settings["COMPARE"], 1):
        yield f"COMPARE, row {number}: ", with_overrides(settings, row)
    space = search_space(settings) if settings["SEARCH_TRIALS"] else {}
    for architecture in values_of(space["architecture"]) if "architecture" in space else [settings["ARCHITECTURE"]]:
        for option, distribution in space.items():
            for value in values_of(distribution) if applies(option, architecture) else ():
                yield "SEARCH_SPACE: ", with_trial_params(settings, {"architecture": architecture} | (
                    {option: value} if option != "architecture" else {}))


def kind_of(settings: Settings) -> dict[str, Any]:
    """The arguments of `outline` for the network of a training."""
    return {"architecture": settings["ARCHITECTURE"], "image_size": settings["IMAGE_SIZE"],
            "options": settings["ARCHITECTURE_OPTIONS"], "head": settings["HEAD"]}


def measured_networks(settings: Settings, numbers: Sequence[str], run: RunFolder) -> list[dict[str, Any]]:
    """The arguments of `outline` for the networks whose feature maps notebooks 02 and 03 may measure."""
    if "01" in numbers and settings["TRAIN"]:
        kinds = {json.dumps(kind_of(own)) for part, own in trainings(settings) if not part.startswith("COMPARE")}
        return [json.loads(kind) for kind in sorted(kinds)][:MOST_NETWORKS]
    if run.path("model.safetensors").exists() and (saved := SavedModel.read(run)):
        return [saved.kind]
    return [{"architecture": settings["ARCHITECTURE"], "image_size": settings["MAP_SIZE"]}]


def map_size(network: Outline, settings: Settings) -> int:
    """The side of the images on which notebooks 02 and 03 measure a network: MAP_SIZE, or the only one that it takes."""
    fixed = getattr(network.model, "image_size", None)
    return fixed if isinstance(fixed, int) else settings["MAP_SIZE"]


def channels_of(network: Outline, name: str, size: int) -> int:
    """The channels of a module's output, 0 where it is not known."""
    shape = network.shapes(size).get(name, ()) if network.takes(size) else ()
    if not shape:
        return 0
    return shape[0] if len(shape) == 3 and not gives_channels_last(network.model.get_submodule(name)) else shape[-1]
