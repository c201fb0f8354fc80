"""Tests of inside/models/detectors.py: without weights that would have to be fetched."""

import time

import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from inside.models.detectors import build_detector, check_detector, find_objects, require_detector

SMALL = "ssdlite320_mobilenet_v3_large"
FILE = "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"


class Found(nn.Module):
    """Finds in red, green and blue the pixels that are there, in one box each; what is brighter has a higher score."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images):
        assert isinstance(images, list) and not torch.is_grad_enabled()
        (image,) = images
        places = [channel.nonzero() for channel in image]
        boxes = torch.stack([torch.cat([place.min(0).values.flip(0), place.max(0).values.flip(0) + 1]) for place in places])
        return [{"boxes": boxes.float(), "labels": torch.tensor([3, 1, 2]), "scores": image.amax((1, 2)) * self.scale}]


def picture(red=130, green=255, blue=120):
    image = Image.new("RGB", (40, 30))
    for color, box in (((red, 0, 0), (5, 6, 20, 10)), ((0, green, 0), (1, 2, 4, 29)), ((0, 0, blue), (30, 20, 40, 30))):
        image.paste(color, box)
    return image


NAMES = ["__background__", "cat", "dog", "tree"]


def test_objects_come_with_their_names_the_surest_first():
    found = find_objects(Found(), NAMES, picture())
    assert (list(found.names), found.scores) == (["cat", "tree"], [1.0, pytest.approx(130 / 255)])  # 120 / 255 is below 0.5
    assert found.boxes == [[1, 2, 4, 29], [5, 6, 20, 10]]
    assert find_objects(Found(), NAMES, picture(), least=0.45).names == ["cat", "tree", "dog"]
    nothing = find_objects(Found(), NAMES, picture(), least=1.1)
    assert (nothing.boxes, nothing.names, nothing.scores) == ([], [], [])


def test_a_detector_of_torchvision_gives_what_is_read():
    """Drawn weights: any boxes, but within the image, with names and scores in order."""
    torch.manual_seed(0)
    detector, names = build_detector(SMALL, weights="random")
    found = find_objects(detector, names, picture(), least=0.0)
    assert len(names) == 91 and names[1] == "person" and not detector.training
    assert len(found.boxes) == len(found.names) == len(found.scores) > 0 and found.scores == sorted(found.scores, reverse=True)
    assert set(found.names) <= set(names[1:])
    for left, top, right, bottom in found.boxes:
        assert 0 <= left <= right <= 40 and 0 <= top <= bottom <= 30


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The folder of fetched weights, empty, without a network; gives it and the addresses that were asked."""
    asked = []

    def refuse(request, **options):
        asked.append(request.full_url)
        raise OSError("no network in this test")
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints", asked


def test_weights_are_taken_from_their_file(hub):
    torch.manual_seed(0)
    stored = torchvision.models.get_model(SMALL, weights=None, weights_backbone=None).state_dict()
    torch.save(stored, hub[0] / FILE)
    require_detector(SMALL)
    detector, _ = build_detector(SMALL)
    assert all(map(torch.equal, detector.state_dict().values(), stored.values())) and hub[1] == []
    (hub[0] / FILE).write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=f"{FILE} does not hold the weights of the detector {SMALL} .*: delete it, and it is fetched again"):
        build_detector(SMALL)


@pytest.mark.parametrize("ask", [require_detector, build_detector])
def test_weights_that_are_not_there_are_told_in_one_sentence(hub, ask):
    began = time.perf_counter()
    with pytest.raises(ValueError) as error:
        ask(SMALL)
    told = str(error.value)
    assert told.startswith(f"The file {FILE} with the weights of the detector {SMALL} is not on this machine, and https://download.pytorch.org/")
    assert told.endswith(f'(13 MB) did not answer within 5 s (no network in this test). Put it at {hub[0] / FILE}, or set DETECTOR = "".')
    assert len(hub[1]) == 1 and time.perf_counter() - began < 5


@pytest.mark.parametrize("name, message", [
    ("fasterrcnn_mobilenet_v3", "did you mean 'fasterrcnn_mobilenet_v3_large_fpn' or"), ("SSDlite320_mobilenet", f"did you mean '{SMALL}'"),
    ("yolo", "choose from fasterrcnn_"), ("resnet50", "DETECTOR = 'resnet50' is no detector of torchvision: did you mean '\\w+_resnet50_fpn'")])
def test_unknown_names_are_refused_with_the_nearest_ones(name, message, hub):
    for ask in (check_detector, require_detector, build_detector):
        with pytest.raises(ValueError, match=message):
            ask(name)
    assert hub[1] == []
