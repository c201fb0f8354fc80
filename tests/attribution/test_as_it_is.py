"""Tests of inside/attribution/as_it_is.py and as_it_is_report.py: planted maps, and networks whose answers are known."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from scipy.stats import binomtest
from sklearn.datasets import load_sample_image
from torch import nn

from inside.attribution.as_it_is import (
    AsItIs,
    Guesses,
    box_around,
    guess_examples,
    imagenet_classes,
    look_as_it_is,
    most_frequent,
    score_imagenet,
    top_classes,
    with_wordnet_ids,
    wordnet_id,
)
from inside.attribution.as_it_is_report import (
    as_it_is_results,
    describe_accuracy,
    describe_boxes,
    describe_guesses,
    describe_most_frequent,
    report_as_it_is,
)
from inside.attribution.inputs import Inspection
from inside.data.sources import ImageSet
from inside.data.transforms import make_transform
from inside.feature_maps.scenarios import Scenario
from inside.files import RunFolder, write_json
from inside.models.build import build_imagenet_network
from inside.shown import Figure, Table, Text

NAMES, IDS = list(imagenet_classes().values()), list(imagenet_classes())
PLAIN = {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear", "channels": 3, "size": 32, "resize": 32}


class Counts(nn.Module):
    """Takes a grey image of brightness v for class 3 v; then come 3 v + 1, 3 v - 1, 3 v + 2, 3 v - 2."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.scale.weight, 255)

    def forward(self, images):
        wanted = 3 * self.scale(images.mean((1, 2, 3))[:, None])[:, 0].round() + 0.3
        return -(torch.arange(1000) - wanted[:, None]) ** 2


class Reddest(nn.Module):
    """Ends in global average pooling and a linear layer: class 7 by red, class 8 by green."""

    def __init__(self):
        super().__init__()
        self.pass_on, self.head = nn.Conv2d(3, 3, 1, bias=False), nn.Linear(3, 1000, bias=False)
        with torch.no_grad():
            self.pass_on.weight.copy_(torch.eye(3)[..., None, None])
            self.head.weight.zero_()
            self.head.weight[7, 0] = self.head.weight[8, 1] = 100

    def forward(self, images):
        return self.head(self.pass_on(images).mean((2, 3)))


def grey(folder, images):
    """Images {path: brightness} below a folder, as a set whose labels are the folders of the paths."""
    for path, value in images.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 32), (value,) * 3).save(folder / path)
    table = pd.DataFrame({"path": images.keys(), "label": [path.rpartition("/")[0] for path in images]})
    return ImageSet("set", folder, table, "")


@pytest.fixture
def look(tmp_path, monkeypatch):
    """look(own images, ImageNet's): what `Counts` says of them."""
    monkeypatch.setattr("inside.attribution.as_it_is.build_imagenet_network", lambda name: (Counts(), PLAIN))

    def of(own, theirs=None, **changes):
        sets = {"imagenet_own": own, "imagenet_imagenet": theirs}
        scenarios = {name: Scenario(name, Counts(), PLAIN, grey(tmp_path / name, images)) for name, images in sets.items() if images}
        options = {"run": RunFolder(str(tmp_path / "run")), "scenarios": scenarios, "missing": {}} | changes
        return look_as_it_is(**options, architecture="counts", device=torch.device("cpu"), batch_size=4)
    return of


OWN = {"b/0.png": 50, "b/1.png": 50, "b/2.png": 60, "a/0.png": 10, "class 10/0.png": 5, "class 2/0.png": 6}


def test_what_a_known_network_says(look):
    found = look(OWN, {"n01440764_tench.png": 0, "n01443537/x.png": 1, "n01484850.png": 2, "other.png": 9})
    assert [guess.label for guess in found.guesses] == ["a", "b", "class 2", "class 10"] == found.table["class"].tolist()
    assert list(found.guesses[0].names) == [NAMES[place] for place in (30, 31, 29, 32, 28)]
    logits = -(np.arange(1000) - 30.3) ** 2
    scores = np.exp(logits - logits.max())
    assert found.guesses[0].probabilities == pytest.approx((scores / scores.sum())[[30, 31, 29, 32, 28]], abs=1e-4)
    assert found.guesses[0].picture.shape == (32, 32, 3) and found.guesses[0].picture.mean() == pytest.approx(10 / 255)
    first = found.table.set_index("class").loc["b"]
    assert (first["images"], first["ImageNet class"], first["share of images"]) == (3, NAMES[150], 2 / 3)
    assert first["mean confidence"] == pytest.approx(found.guesses[0].probabilities[0], abs=1e-4)
    assert (found.accuracy["images"], found.accuracy["top1"], found.accuracy["top5"]) == (3, 1 / 3, 2 / 3)  # 1 is fifth, 2 is not among five
    assert all(guess.box is None for guess in found.guesses) and "no class activation map" in found.no_box  # no map in `Counts`


def test_the_image_of_a_class_is_drawn_by_seed(look, tmp_path):
    own = {f"a/{value}.png": value for value in range(30)}
    table = grey(tmp_path / "x", own).table
    inspection = Inspection(Counts(), PLAIN, 32, tmp_path / "x")
    scores = np.eye(1000)[list(own.values())]
    drawn = {guess_examples(inspection, table, scores, seed=seed)[0][0].names[0] for seed in range(5)}
    assert len(drawn) > 1 and drawn <= set(NAMES[:30])
    (guess,), _ = guess_examples(inspection, table.iloc[7:9].set_index(pd.Index([70, 80])), scores[7:9], seed=0)  # rows, not labels
    assert NAMES.index(guess.names[0]) == round(255 * guess.picture.mean())


def test_six_classes_at_most_are_shown(look):
    found = look({f"class {number}/0.png": number for number in range(9)})
    assert [guess.label for guess in found.guesses] == [f"class {number}" for number in range(6)] and len(found.table) == 9


def test_equally_frequent_classes():
    scores = np.full((4, 1000), 1e-6)
    scores[0, 3] = scores[1, 3] = 0.4
    scores[2, 9] = scores[3, 9] = 0.6
    table = most_frequent(pd.Series(["a"] * 4), scores)
    assert table.iloc[0].tolist() == ["a", 4, NAMES[9], 0.5, pytest.approx(0.6)]


@pytest.mark.parametrize("ranks, top1, top5", [([0, 1, 4, 5], 1, 3), ([0, 0, 0, 0], 4, 4), ([5, 999, 7, 6], 0, 0)])
def test_accuracy_counts_ranks(ranks, top1, top5):
    rng, paths = np.random.default_rng(0), [f"{IDS[number]}_{number}.jpg" for number in (3, 500, 998, 42)]
    scores = np.zeros((4, 1000))
    for row, (rank, number) in enumerate(zip(ranks, (3, 500, 998, 42), strict=True)):
        others = rng.permutation([place for place in range(1000) if place != number])
        scores[row, np.insert(others, rank, number)] = np.linspace(1, 0.1, 1000)
    found = score_imagenet(scores, paths)
    assert (found["images"], 4 * found["top1"], 4 * found["top5"]) == (4, top1, top5)
    for name, count in (("top1", top1), ("top5", top5)):
        interval = binomtest(count, 4).proportion_ci(method="wilson")
        assert found[f"{name}_interval"] == pytest.approx((interval.low, interval.high))


def test_the_most_probable_come_first():
    assert top_classes(np.array([[0.1, 0.3, 0.0, 0.2, 0.25, 0.15, 0.3]])).tolist() == [[1, 6, 4, 3, 5]]


def test_the_names_are_those_of_the_outputs():
    """Against torchvision's list, which names two pairs in another way."""
    theirs = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    assert [(place, NAMES[place]) for place in range(1000) if NAMES[place] != theirs[place]] == [
        (134, "crane (n02012849)"), (517, "crane (n03126707)"), (638, "maillot (n03710637)"), (639, "maillot (n03710721)")]
    assert len(set(NAMES)) == 1000 and sorted(IDS) == IDS


@pytest.mark.parametrize("path, found", [
    ("n01440764_tench.JPEG", "n01440764"), ("val/n01440764/ILSVRC2012_val_00000293.JPEG", "n01440764"), ("n01440764/n01443537_3.png", "n01443537"),
    ("n01440764.png", "n01440764"), ("n99999999_x.png", ""), ("n014407641.png", ""), ("xn01440764.png", ""), ("forest/3.png", ""), ("N01440764.png", "")])
def test_wordnet_ids_of_paths(path, found):
    assert wordnet_id(path) == found


def test_images_without_an_id_are_not_scored(tmp_path, look):
    images = grey(tmp_path / "x", {"n01440764_a.png": 1, "b.png": 2})
    assert with_wordnet_ids(images).table["path"].tolist() == ["n01440764_a.png"]
    assert with_wordnet_ids(dataclasses.replace(images, table=images.table.iloc[1:])) is None
    for found in (look(OWN), look(OWN, {"x.png": 3})):
        assert found.accuracy is None and "WordNet" in found.not_scored


def planted(*rectangles, shape=(40, 50)):
    heat = np.zeros(shape)
    for top, left, bottom, right, value in rectangles:
        heat[top:bottom, left:right] = value
    return heat


@pytest.mark.parametrize("heat, box", [
    (planted((5, 10, 20, 31, 1.0)), (10, 5, 31, 20)),
    (planted((5, 10, 20, 31, 0.5), (30, 40, 33, 43, 1.0)), (10, 5, 31, 20)),  # the largest, not the hottest
    (planted((5, 10, 20, 31, 0.19), (30, 40, 33, 43, 1.0)), (40, 30, 43, 33)),  # below the threshold
    (planted((5, 10, 20, 31, 0.21), (30, 40, 33, 43, 1.0)), (10, 5, 31, 20)),
    (planted((5, 10, 20, 31, 0.2), (30, 40, 33, 43, 1.0)), (40, 30, 43, 33)),  # at the threshold
    (planted((0, 0, 4, 4, 1.0), (4, 4, 7, 7, 1.0)), (0, 0, 4, 4)),  # corners do not connect
    (planted((2, 2, 10, 4, 1.0), (8, 4, 10, 30, 0.6)), (2, 2, 30, 10)),  # an L
    (np.ones((40, 50)), (0, 0, 50, 40)), (np.zeros((40, 50)), None)])
def test_boxes(heat, box):
    assert box_around(heat) == box and box_around(7 * heat) == box


def test_the_box_of_a_map_that_is_known(tmp_path):
    """A red rectangle beside a smaller, brighter one, and green that is evidence for another class."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[4:20, 6:25, 0], pixels[26:29, 2:5, 0], pixels[22:30, 20:30, 1] = 200, 255, 250
    Image.fromarray(pixels).save(tmp_path / "0.png")
    table, scores = pd.DataFrame({"path": ["0.png"], "label": ["a"]}), np.eye(1000)[[7]]
    (guess,), no_box = guess_examples(Inspection(Reddest(), PLAIN, 32, tmp_path), table, scores)
    assert (guess.box, no_box, guess.names[0]) == ((6, 4, 25, 20), "", NAMES[7])
    (other,), _ = guess_examples(Inspection(Reddest(), PLAIN, 32, tmp_path), table, np.eye(1000)[[8]])
    assert other.box == (20, 22, 30, 30)
    (none,), _ = guess_examples(Inspection(Reddest(), PLAIN, 32, tmp_path), table, np.eye(1000)[[9]])
    assert none.box is None and "no boxes" in describe_boxes([none])


def parts(found):
    text, figure, table = report_as_it_is(found)
    assert isinstance(text, Text) and isinstance(figure, Figure) and isinstance(table, Table)
    return text, figure, table


def test_the_report_tells_its_numbers(look):
    found = look(OWN, {"n01440764_tench.png": 0, "n01443537/x.png": 1})
    found = dataclasses.replace(found, no_box="", guesses=[dataclasses.replace(found.guesses[0], label="a*b*", box=(0, 8, 32, 16)),
                                                           dataclasses.replace(found.guesses[1], probabilities=[0.07, 0.06, 0.03, 0.02, 0.01])])
    text, figure, table = parts(found)
    assert "`counts` with its 1,000 classes" in text.markdown and "resized to 32 pixels (bilinear), the middle 32×32 cut out" in text.markdown
    assert "Of 2 images of IMAGENET_VAL" in text.markdown and "50.0% (95% interval 9.5% to 90.5%) are classified correctly" in text.markdown
    top = f"{100 * found.guesses[0].probabilities[0]:.1f}%"
    first, last = f"\u2068a*b*\u2069 ({NAMES[30]}, {top})", f"b ({found.guesses[1].names[0]}, 7.0%)"
    assert figure.caption.startswith(f"Before fine-tuning, the network is most certain about the image of {first} and least about that of {last}.")
    assert "20% of the maximum; on average 25% of the image" in figure.caption and f"{first}; {last}" in figure.alt
    long = parts(dataclasses.replace(found, guesses=[dataclasses.replace(found.guesses[0], label="x" * 30)]))[1]
    assert long.drawing.axes[0].get_title() == "x" * 23 + "…"
    image, bars, *others = figure.drawing.axes
    assert [round(bar.get_width(), 6) for bar in bars.patches] == [round(value, 6) for value in found.guesses[0].probabilities]
    assert bars.get_ylim()[0] > bars.get_ylim()[1]  # the most probable above
    box = image.patches[-1]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (-0.5, 7.5, 32, 8) and not others[0].patches
    assert [text.get_text() for text in others[1].texts][0] == f"0.07 {found.guesses[1].names[0]}" and image.get_title() == "a*b*"
    assert table.caption.startswith("The share of images taken for one and the same class of ImageNet is largest for class 10 (100.0%, ")
    assert f"and smallest for b (66.7%, {NAMES[150]})." in table.caption


def test_sentences_of_one_class_and_of_none():
    guess = Guesses("", np.zeros((4, 4, 3)), NAMES[:5], [0.4, 0.1, 0.1, 0.1, 0.1], (0, 0, 4, 4))
    assert describe_guesses([guess]) == "Before fine-tuning, the network is most certain about the image of no class (tench, 40.0%)."
    table = pd.DataFrame({"class": ["a"], "images": [3], "ImageNet class": ["tench"], "share of images": [1 / 3], "mean confidence": [0.5]})
    assert describe_most_frequent(table).endswith(" is that of a (33.3%, tench).")
    assert describe_accuracy(None, "there are none") == "It is not scored: there are none."


def test_results_hold_what_is_told(look):
    found = look(OWN, {"n01440764_tench.png": 0})
    told = json.loads(json.dumps(as_it_is_results(found)))
    assert told["as_it_is_reason"] is None and told["as_it_is"]["accuracy"]["top1"] == 1 and told["as_it_is"]["accuracy_reason"] is None
    assert told["as_it_is"]["most_frequent"]["b"] == {"images": 3, "imagenet_class": NAMES[150], "share": 2 / 3,
                                                      "confidence": pytest.approx(found.guesses[0].probabilities[0], abs=1e-4)}
    assert as_it_is_results(look(OWN))["as_it_is"]["accuracy_reason"].startswith("IMAGENET_VAL names no images")
    assert as_it_is_results(AsItIs(left_out="it is not there")) == {"as_it_is": None, "as_it_is_reason": "it is not there"}


def left_out(found):
    (text,) = report_as_it_is(found)
    assert text.markdown.startswith("Left out: ") and re.fullmatch(r"[^\n]+[^.]\.", text.markdown)  # which the page moves to "Not in this run"
    return text.markdown


def test_why_it_is_not_there(look, tmp_path, monkeypatch):
    assert "no such weights" in left_out(look({}, missing={"imagenet_own": "no such weights."}))
    run = RunFolder(str(tmp_path / "drawn"))
    write_json(run.path("model.json"), {"architecture": "resnet18", "classes": ["a", "b"], "image_size": 32, "preprocessing": {}, "split": "", "root": "",
                                        "settings": {"WEIGHTS": "random"}})
    assert 'did not begin with ImageNet weights (WEIGHTS = "random")' in left_out(look(OWN, run=run))

    def refuse(name):
        raise ValueError(f"{name} has other classes.")
    monkeypatch.setattr("inside.attribution.as_it_is.build_imagenet_network", refuse)
    assert "counts has other classes" in left_out(look(OWN))


def test_the_network_is_that_of_the_run(look, tmp_path, monkeypatch):
    built, run = [], RunFolder(str(tmp_path / "trained"))
    monkeypatch.setattr("inside.attribution.as_it_is.build_imagenet_network", lambda name: (built.append(name), (Counts(), PLAIN))[1])
    write_json(run.path("model.json"), {"architecture": "of the run", "classes": ["a", "b"], "image_size": 32, "preprocessing": {}, "split": "", "root": ""})
    assert look(OWN, run=run).architecture == "counts"  # not trained yet
    run.path("model.safetensors").write_bytes(b"")
    assert look(OWN, run=run).architecture == "of the run" and built == ["counts", "of the run"]


def test_the_packaged_network_knows_a_palace_and_a_daisy():
    model, preprocessing = build_imagenet_network("efficientnet_lite0")
    transform = make_transform(preprocessing, preprocessing["size"])
    images = torch.stack([transform(Image.fromarray(load_sample_image(name))) for name in ("china.jpg", "flower.jpg")])
    with torch.no_grad():
        assert [NAMES[place] for place in model.eval()(images).argmax(1)] == ["palace", "daisy"]
