"""Does an attribution change when the weights are re-initialised?"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.fft import dctn, idctn
from scipy.stats import rankdata, spearmanr
from torch import Tensor, nn

from inside.attribution.cam import class_activation_maps
from inside.attribution.guided import NotGuidable, guided_backpropagation, saliency
from inside.attribution.inputs import _batch, _logits
from inside.evaluation.intervals import mean_interval
from inside.feature_maps.hooks import all_modules, eval_mode
from inside.feature_maps.scenarios import network_stamp
from inside.models.surgery import classifier_name


def attribution_methods(model: nn.Module, images: Tensor) -> dict[str, Callable[[nn.Module, Tensor, Tensor], np.ndarray]]:
    """The methods that a network allows: name -> f(network, images, targets) giving maps (N,h,w).

    The class activation map as class_activation_maps chooses it; guided backpropagation and the plain gradient as sums of
    absolute values over the channels of the image.
    """
    found: dict[str, Callable] = {}
    try:
        cam = class_activation_maps(model, images[:1])
        named = cam.method == "Grad-CAM" and cam.layer in all_modules(model)  # then the same layer for all networks
        layer = cam.layer if named else None
        found[f"class activation map ({cam.method})"] = lambda net, x, t: class_activation_maps(net, x, t, layer=layer).maps
    except ValueError as error:
        print(f"Left out: {error}")
    for name, method in (("guided backpropagation", guided_backpropagation), ("gradient", saliency)):
        try:
            method(model, images[:1])
        except NotGuidable as error:
            print(f"Left out: {error}")
            continue
        found[name] = lambda net, x, t, method=method: method(net, x, t).abs().sum(1).float().cpu().numpy()
    return found


def weighted_parts(model: nn.Module) -> list[str]:
    """The parts of a network that own weights, from the head down.

    Its children; of those that are containers, hold the head, or hold half of all weights or more, the parts inside.
    """
    head, total = classifier_name(model), sum(p.numel() for p in model.parameters())

    def parts(module: nn.Module, prefix: str, contained: bool = False) -> list[str]:
        found = []
        for name, child in module.named_children():
            weights, name = sum(p.numel() for p in child.parameters()), prefix + name
            if not weights or name.lower().rpartition(".")[2].startswith("aux"):
                continue
            container = isinstance(child, nn.Sequential | nn.ModuleList)
            opened = 2 * weights >= total or head.startswith(f"{name}.") or (container and not contained)
            inside = parts(child, f"{name}.", container) if opened and name != head else []
            found += inside or [name]
        return found

    return [head, *reversed([name for name in parts(model, "") if name != head])]


def randomise(model: nn.Module, fresh: nn.Module, units: Sequence[str],
              n_steps: int) -> Iterator[tuple[str, nn.Module]]:
    """Cascade: yields (lowest unit re-initialised, network), first ("nothing", the network as it is), at last all weights.

    Each step takes weights and buffers of further `units`, from the head down, from `fresh`, a network of the same
    architecture as it is initialised before any training: at first the head alone, then groups, `n_steps` in all.
    """
    network = copy.deepcopy(model)
    yield "nothing", network
    below = min(n_steps, len(units)) - 1
    groups = [group.tolist() for group in np.array_split(units[1:], below)] if below > 0 else []
    for number, group in enumerate([units[:1], *groups], start=1):
        for name in group:
            network.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
        if number > len(groups):
            network.load_state_dict(fresh.state_dict())  # also weights outside of these units, such as a class token
        yield group[-1], network


UNRELATED = "unrelated map"  # of `Randomisation.controls`: what chance gives


@dataclass(frozen=True)
class Randomisation:
    """What the test found: `table`, `controls`, and `pictures` {down to: {method: map (h,w)}} of one image."""

    table: pd.DataFrame
    controls: pd.DataFrame
    pictures: dict[str, dict[str, np.ndarray]]


def parameter_randomisation_test(model: nn.Module, fresh: Sequence[nn.Module | Callable[[], nn.Module]], images: Tensor, *,
                                 n_steps: int = 6, batch_size: int = 16, seed: int = 0) -> Randomisation:
    """Does an explanation change when the weights are re-initialised, layer by layer from the top down?

    `fresh`: networks of the same architecture with random weights, each a draw, from seeds that the training did not use;
    or functions that build one, which are called one after the other, so that one of these networks is alive at a time.
    The images (N,C,H,W) are dealt over the draws: image i goes to draw i modulo their number, so that each draw has images
    of its own and the cost does not depend on how many draws there are. Of each image, and of the class that the trained
    network predicts: Spearman's rank correlation between a method's map and the same method's on the network of each step
    of `randomise`. `table`: step, down_to, method, draw, image, correlation (NaN where a map is constant). `controls`:
    method, control, image, correlation on the trained network; the control "another image" is the map of the next image,
    "edges" the strength of the edges in the image itself, "unrelated map" see `chance_correlations`, drawn by `seed`.
    ValueError: no draw, or two that are used and the same. Source: Adebayo et al., Sanity checks for saliency maps (2018).
    """
    if not len(fresh):
        raise ValueError("fresh holds 0 networks; expected 1 or more, each a draw of random weights.")
    methods, units = attribution_methods(model, images), weighted_parts(model)
    with eval_mode(model), torch.no_grad():
        targets = torch.cat([_logits(model, _batch(model, part)).argmax(1) for part in images.split(batch_size)])
    trained = {method: _explain(explain, model, images, targets, batch_size) for method, explain in methods.items()}
    rows = [(0, "nothing", method, image % len(fresh), image, rank_correlation(own, own))
            for method, maps in trained.items() for image, own in enumerate(maps)]
    pictures = {"nothing": {method: maps[0] for method, maps in trained.items()}}
    known: dict[str, int] = {}
    for draw, network in enumerate(fresh[:len(images)]):
        dealt = range(draw, len(images), len(fresh))
        cascade = randomise(model, _another_draw(draw, network, known), units, n_steps)
        for step, (down_to, changed) in enumerate(cascade):
            for method, explain in methods.items() if step else ():
                maps = _explain(explain, changed, images[dealt], targets[dealt], batch_size)
                pictures.setdefault(down_to, {}).setdefault(method, maps[0])
                rows += [(step, down_to, method, draw, image, rank_correlation(trained[method][image], found))
                         for image, found in zip(dealt, maps, strict=True)]
    table = pd.DataFrame(rows, columns=["step", "down_to", "method", "draw", "image", "correlation"])
    return Randomisation(table, _controls(trained, images, seed), pictures)


def _another_draw(draw: int, network: nn.Module | Callable[[], nn.Module], known: dict[str, int]) -> nn.Module:
    """A draw of random weights, built if `network` is a function. ValueError: an earlier one, of `known`, is the same."""
    weights = network if isinstance(network, nn.Module) else network()
    earlier = known.setdefault(network_stamp(weights), draw)
    if earlier != draw:
        raise ValueError(f"The draws {earlier} and {draw} of fresh hold the same weights; expected different ones, each "
                         "from a seed of its own.")
    return weights


def _explain(explain: Callable, network: nn.Module, images: Tensor, targets: Tensor, batch_size: int) -> np.ndarray:
    """The maps (N,h,w) that a method of `attribution_methods` gives, batch by batch."""
    return np.concatenate([explain(network, part, target) for part, target in
                           zip(images.split(batch_size), targets.split(batch_size), strict=True)])


def _controls(trained: Mapping[str, np.ndarray], images: Tensor, seed: int) -> pd.DataFrame:
    """The table `controls` of the test, from the trained network's maps {method: (N,h,w)} of the images."""
    rows, edges = [], torch.from_numpy(edge_strength(images))[:, None]
    for method, maps in trained.items():
        small = F.interpolate(edges, size=maps.shape[1:], mode="area")[:, 0].numpy()
        rows += [(method, "another image", image, math.nan if other is None else rank_correlation(maps[image], maps[other]))
                 for image, other in enumerate(images_before(maps))]
        rows += [(method, "edges", image, rank_correlation(values, small[image])) for image, values in enumerate(maps)]
        rows += [(method, UNRELATED, image, value) for image, value in chance_correlations(maps, seed=seed)]
    return pd.DataFrame(rows, columns=["method", "control", "image", "correlation"])


def images_before(maps: np.ndarray) -> list[int | None]:
    """For each of the maps (N,h,w) that can be ranked, the one before it that can be, the last for the first; else None."""
    usable = [index for index, values in enumerate(maps) if can_be_ranked(values)]
    before = dict(zip(usable, usable[-1:] + usable[:-1], strict=True)) if len(usable) > 1 else {}
    return [before.get(index) for index in range(len(maps))]


def unrelated_maps(maps: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Maps (N,h,w) as smooth as the given ones, whose arrangement is left to chance.

    The ranks of each map in the cosine basis, every coefficient with a random sign: surrogates with the same spectrum, as
    in Theiler et al., Testing for nonlinearity in time series: the method of surrogate data (1992). Not in the Fourier
    basis, as there: it takes a map to wrap round, and small smooth maps then come out too rough.
    """
    ranks = rankdata(maps.reshape(len(maps), -1), axis=1).reshape(maps.shape)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], maps.shape)
    return idctn(signs * dctn(ranks, axes=(1, 2), norm="ortho"), axes=(1, 2), norm="ortho")


def chance_correlations(maps: np.ndarray, *, n: int | None = None, seed: int = 0) -> list[tuple[int, float]]:
    """Rank correlations of maps (N,h,w) with maps that have nothing to do with them, of the same size and smoothness.

    Each map with `n` surrogates of *other* maps (one of its own has its very spectrum, and is too alike); None: 20 of small
    maps and 2 of those with more than 1,000 values, whose correlations vary less. Pairs (image, correlation); none of maps
    that cannot be ranked, and none where there are fewer than two others.
    """
    usable = np.flatnonzero([can_be_ranked(map_) for map_ in maps])
    n = n or (20 if maps[0].size <= 1000 else 2)
    found = []
    for number in range(n if len(usable) > 1 else 0):
        others = unrelated_maps(np.roll(maps[usable], 1 + number % (len(usable) - 1), axis=0), seed=seed + number)
        found += [(int(image), rank_correlation(maps[image], other)) for image, other in zip(usable, others, strict=True)]
    return found


def can_be_ranked(values: np.ndarray) -> bool:
    """Whether a map is finite and not constant, beyond the rounding of float32."""
    return bool(np.isfinite(values).all() and np.ptp(values) > 1e-6 * np.abs(values).max())


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two maps of the same shape; NaN where one is constant."""
    if not (can_be_ranked(a) and can_be_ranked(b)):
        return math.nan
    return float(spearmanr(a, b, axis=None).statistic)


def edge_strength(images: Tensor) -> np.ndarray:
    """How steeply the brightness of images (N,C,H,W) changes at each pixel, (N,H,W); computed without a network."""
    gray = images.float().mean(1).cpu().numpy()
    return np.hypot(*np.gradient(gray, axis=(1, 2)))


def interval_over_draws(values: Sequence[float], draws: Sequence[int]) -> tuple[float, float, float, int]:
    """The mean of `values`, the ends of its 95% interval, and how many draws it is of; values that are NaN are left out.

    `draws`: the draw of each value; the values of a draw are of images that no other draw has. The interval is Student's t
    of the means of the draws (draws - 1 degrees of freedom), so that it holds the variance between draws and that between
    images. Of a single draw it is `mean_interval` over the images, which leaves the variance between draws out.
    """
    known = pd.DataFrame({"value": np.asarray(values, dtype=float), "draw": np.asarray(draws)}).dropna()
    means = known.groupby("draw")["value"].mean()
    if len(means) < 2:
        return (*mean_interval(known["value"]), len(means))
    return (*mean_interval(means), len(means))
