"""Counts, pooled features and covariance of feature maps, in one pass over the images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from inside.device import InParts
from inside.feature_maps.hooks import (
    _pool_and_count,
    _positions,
    all_modules,
    capture,
    choose_layers,
    eval_mode,
    only_tensor,
)
from inside.feature_maps.states import NonPositiveCounts, StreamingCovariance
from inside.feature_maps.tracing import Following, Tracer, check_times
from inside.models.surgery import first_parameter
from inside.processes import gather

STORED = ("calls", "features", "labels", "skipped", "table", "images", "activation", "fires", "reason")


@dataclass
class LayerStatistics:
    """All that one pass over images tells of one feature map; parts merge.

    `calls` in one forward pass: those of a module called several times stand side by side, as further channels.
    `skipped`: images whose pooled feature is not finite; they are counted in `counts` but left out of `covariance`.
    `after`: the activation that gave the map or follows it, with the channels that were ever > 0 after it, or why none does.
    """

    layer: str
    calls: int
    counts: NonPositiveCounts = field(default_factory=NonPositiveCounts)
    covariance: StreamingCovariance = field(default_factory=StreamingCovariance)
    skipped: int = 0
    pooled: list[np.ndarray] = field(default_factory=list)
    after: Following = Following()

    @property
    def images(self) -> int:
        """Number of images seen."""
        return self.counts.images.total()

    @property
    def dead_channels(self) -> np.ndarray | None:
        """Indices of the channels that are never > 0 after the activation, over all images and positions.

        None where the map neither comes from an activation nor goes into one: `after.reason` says why.
        """
        if self.after.fires is None:
            return None
        _, nan, values = self.counts.total
        return np.flatnonzero(~self.after.fires & (nan < values))

    @property
    def channels(self) -> int:
        """Number of channels, over all calls."""
        return self.counts.total.shape[1]

    @property
    def features(self) -> np.ndarray:
        """Pooled features (N,C) in the order of the images, as exact as they are: float32 of a float32 network.

        ValueError: they were not kept.
        """
        if not self.pooled:
            raise ValueError(f"The features of {self.layer!r} were not kept: collect with keep_features=True.")
        return np.concatenate(self.pooled)

    def merge(self, other: LayerStatistics) -> None:
        """Add the images of another part, after these."""
        if (self.layer, self.calls) != (other.layer, other.calls):
            raise ValueError(f"Statistics of {other.layer!r} with {other.calls} calls cannot be added to those of "
                             f"{self.layer!r} with {self.calls}: expected the same layer and number of calls.")
        self.counts.merge(other.counts)
        self.covariance.merge(other.covariance)
        self.skipped += other.skipped
        self.pooled += other.pooled
        self._add_after(other.after)

    def _add_after(self, after: Following) -> None:
        if self.after.fires is not None and after.fires is not None:
            self.after = dataclasses.replace(self.after, fires=self.after.fires | after.fires)
        elif not self.after.reason:
            self.after = after

    def arrays(self) -> dict[str, np.ndarray]:
        """This state as arrays for np.savez; `of_arrays` reads them."""
        labels, fires = sorted(self.counts.table), np.zeros(0, bool) if self.after.fires is None else self.after.fires
        return {"activation": np.array(self.after.activation), "fires": fires, "reason": np.array(self.after.reason),
                "calls": np.array(self.calls), "features": np.concatenate(self.pooled), "labels": np.array(labels),
                "skipped": np.array(self.skipped), "table": np.stack([self.counts.table[label] for label in labels]),
                "images": np.array([self.counts.images[label] for label in labels])}

    @classmethod
    def of_arrays(cls, layer: str, stored: Mapping[str, np.ndarray], batch_size: int) -> LayerStatistics:
        """The state that `arrays` gave; the covariance is accumulated anew, in minibatches of `batch_size`."""
        fires = stored["fires"] if len(stored["fires"]) else None
        state = cls(layer, int(stored["calls"]), skipped=int(stored["skipped"]), pooled=[stored["features"]],
                    after=Following(str(stored["activation"]), fires, str(stored["reason"])))
        for label, table, images in zip(stored["labels"], stored["table"], stored["images"], strict=True):
            state.counts._add(int(label), table, int(images))
        finite = stored["features"][np.isfinite(stored["features"]).all(axis=1)]
        for start in range(0, len(finite), batch_size):
            state.covariance.update(finite[start:start + batch_size])
        return state

    def _update(self, maps: list[tuple], labels: np.ndarray, keep_features: bool, after: Following) -> None:
        """Add one batch; `maps`: for each call positions, means (N,C), counts (N,C), counts of NaN or None."""
        self._add_after(after)
        means = np.concatenate([mean for _, mean, _, _ in maps], axis=1)
        positions = np.concatenate([np.full(mean.shape[1], p) for p, mean, _, _ in maps])
        counts = np.concatenate([count for *_, count, _ in maps], axis=1)
        nan = [np.zeros_like(count) if nan is None else nan for *_, count, nan in maps]
        self.counts.update(counts, positions, nan=np.concatenate(nan, axis=1), labels=labels)
        finite = np.isfinite(means).all(axis=1)
        self.skipped += int((~finite).sum())
        self.covariance.update(means if finite.all() else means[finite])
        if keep_features:
            self.pooled.append(means)


def by_scenario(statistics: Mapping[str, Mapping[str, LayerStatistics]]) -> Mapping[str, Mapping[str, LayerStatistics]]:
    """Statistics as functions take them, {scenario: {layer: statistics}}. ValueError: those of one scenario alone."""
    if any(isinstance(found, LayerStatistics) for found in statistics.values()):
        raise ValueError("These are the statistics of one network, {layer: statistics}; expected {scenario: {layer: "
                         'statistics}}: give them a name, such as {"mine": statistics}.')
    return statistics


def collect_statistics(model: nn.Module, loader: Iterable, layers: Sequence[str], *, channels_last: bool = True,
                       precision: torch.dtype = torch.float32,
                       keep_features: bool = True) -> dict[str, LayerStatistics]:
    """Non-positive counts, pooled features and covariance of the named feature maps in one pass over a loader.

    `loader` yields (images (N,C,H,W), labels (N,)) or images alone. The network runs in evaluation mode and inference
    mode on its own device, under autocast if `precision` is not float32; flags and buffers come back. Everything is
    reduced inside the hooks: pooling in float32 (float64 for float64 maps), counting in exact integers. A `Tracer` runs
    along: it tells where the channels of a map are, and which are ever > 0 after the activation that follows. With
    keep_features the pooled features (4 bytes a channel and image) stay; without, memory does not grow with the images.
    Where several processes compute, each measures its share (see `make_loader`), and rank 0 has the statistics of all.
    ValueError: unknown layer, a layer never called, called differently from batch to batch, no images.
    """
    names, like, running = choose_layers(model, layers), first_parameter(model), _Pass(all_modules(model))
    result: dict[str, LayerStatistics] = {}
    autocast = torch.autocast(like.device.type, dtype=precision, enabled=precision != torch.float32)
    in_parts = InParts()

    def measure(images: Tensor, labels: np.ndarray) -> None:
        layout = torch.channels_last if channels_last and images.ndim == 4 else torch.preserve_format
        images = images.to(like.device, like.dtype, memory_format=layout)
        running.begin()
        with running.tracer.over(model, images):
            model(images)
        for name in names:
            maps = running.maps.get(name, [])
            _check_calls(name, maps, len(images), result.get(name))
            layer = result.setdefault(name, LayerStatistics(name, len(maps)))
            layer._update(maps, labels, keep_features, running.after(name))

    with eval_mode(model), torch.inference_mode(), autocast, capture(model, names, running.reduce):
        for batch in loader:
            images, labels = batch if isinstance(batch, tuple | list) else (batch, None)
            labels = np.full(len(images), -1) if labels is None else torch.as_tensor(labels).cpu().numpy()
            in_parts(measure, images, labels)
    result = _merged(gather(result, to_all=False))
    if not result:
        raise ValueError("The loader gave 0 batches; at least 1 is needed.")
    return result


def _merged(parts: Sequence[dict[str, LayerStatistics]]) -> dict[str, LayerStatistics]:
    """The statistics of parts of the images, in their order, as those of all."""
    result: dict[str, LayerStatistics] = {}
    for part in parts:
        for name, layer in part.items():
            if name in result:
                result[name].merge(layer)
            else:
                result[name] = layer
    return result


class _Pass:
    """What the hooks reduce the outputs of one forward pass to.

    `maps`: layer -> for each call positions, means (N,C), counts (N,C), counts of NaN or None.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.modules, self.tracer = modules, Tracer()
        self.maps: dict[str, list[tuple]] = {}
        self.given_by: dict[str, list[str]] = {}
        self.axes: dict[tuple[str, int], int | None] = {}  # of the channels, by layer and call

    def begin(self) -> None:
        self.maps = {}
        if self.tracer.tracing:
            self.given_by = {}

    def reduce(self, name: str, output: object) -> None:
        tensor, maps = only_tensor(name, output), self.maps.setdefault(name, [])
        channels = self.axes.setdefault((name, len(maps)), self.tracer.channels(tensor))
        with self.tracer.paused():
            x, axis = _positions(name, self.modules[name], tensor, channels)
            maps.append((x.shape[axis], *_pool_and_count(x, axis)))
        if self.tracer.tracing:
            self.given_by.setdefault(name, []).append(self.tracer.follow(name, len(maps) - 1, tensor))

    def after(self, name: str) -> Following:
        """The activations of all calls of a layer, their channels side by side; the reason of the first without one."""
        found, maps = [], self.maps[name]
        for call, ((positions, mean, count, nan), activation) in enumerate(zip(maps, self.given_by[name], strict=True)):
            after = self.tracer.following(name, call)
            if activation:  # the map is itself what leaves an activation
                numbers = len(mean) * positions - (0 if nan is None else nan.sum(0))
                after = Following(activation, numbers > count.sum(0))
            if after.fires is not None and len(after.fires) != mean.shape[1]:
                after = Following(reason=f"no activation follows channel by channel: {after.activation} regroups them")
            if after.reason:
                return Following(reason=after.reason + (f" (call {call + 1} of {len(maps)})" if len(maps) > 1 else ""))
            found.append(after)
        return Following(" and ".join(dict.fromkeys(after.activation for after in found)),
                         np.concatenate([after.fires for after in found]))


def _check_calls(name: str, maps: list[tuple], images: int, before: LayerStatistics | None) -> None:
    if not maps:
        raise ValueError(f"Module {name!r} was never called; expected modules with calls > 0 in the module table.")
    if before is not None:
        check_times(name, len(maps), before.calls)
    rows = next((len(mean) for _, mean, *_ in maps if len(mean) != images), images)
    if rows != images:
        raise ValueError(f"Module {name!r} gives {rows} rows for {images} images; expected one row an image.")
