"""The training loop, its checkpoints, its history.

Own code, because it is what notebook 01 teaches: fastai and Lightning hide these lines behind callbacks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import recall_score
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from inside.data.loading import EpochSampler, to_device
from inside.device import tf32
from inside.evaluation.predictions import predict
from inside.files import atomic_write
from inside.models.folding import Pair, find_pairs, folded
from inside.models.surgery import set_train_mode
from inside.processes import first, gather, rank, total, world
from inside.text import format_duration, format_share
from inside.training.cached import read_cached
from inside.training.recipe import Recipe, balanced_weights, make_optimizer, make_scheduler


class Trainer:
    """A training in progress: network, optimiser, schedule, history, the best weights so far.

    `step` computes the mean loss of a batch in micro-batches; if a GPU runs out of memory, the micro-batch is halved and
    the batch repeated, so that the gradient remains that of the whole batch (batch norm then sees the parts). Losses remain
    on the device until the end of an epoch, so that a GPU is never waited for: there, and among several processes, whether
    they are finite is looked at every CHECKED steps. With float16, the loss is scaled (Micikevicius et al. 2018).

    Where several processes compute, each has its share of a batch (see `Shares`), and gradients are those of the whole
    batch; memory that runs out is then an error.
    """

    CHECKED = 50

    def __init__(self, model: nn.Module, loader: DataLoader, recipe: Recipe, n_classes: int, precision: torch.dtype,
                 checkpoint: Path | None = None):
        self.model, self.recipe, self.precision, self.checkpoint = model, recipe, precision, checkpoint
        self.device = next(model.parameters()).device
        self.forward: Callable = model if world() == 1 else _together(model, recipe)
        self.optimizer = make_optimizer(model, recipe)
        self.scheduler = make_scheduler(self.optimizer, recipe, recipe.epochs * len(loader))
        weights = balanced_weights(loader.dataset.targets, n_classes) if recipe.class_weights else torch.ones(n_classes)
        self.class_weights = weights.to(self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == torch.float16)
        self.micro_batch = loader.batch_sampler.batch_size
        self.counts = 1.0  # 0 where this process has no image of the batch, but one to fill its place
        self.weight = torch.tensor(1.0)  # the class weights of a batch, summed
        self.pairs: list[Pair] | None = None  # convolutions, each with the batch norm that it computes while that is frozen
        self.history: list[dict] = []
        self.best: dict[str, torch.Tensor] = {}

    def step(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One optimiser step on a batch: (logits, mean loss)."""
        if self.pairs is None:
            self.pairs = find_pairs(self.model, images[:1])
        while True:
            try:
                self.optimizer.zero_grad(set_to_none=True)
                logits, loss = self.loss_and_gradients(images, targets)
                break
            except torch.OutOfMemoryError:
                if self.micro_batch == 1 or world() > 1:
                    raise
                self.micro_batch = max(1, min(self.micro_batch, len(images)) // 2)
                torch.cuda.empty_cache()
                print(f"out of memory: micro-batches of {self.micro_batch} from now on, accumulated to the same batch")
        if self.device.type == "cpu" and world() == 1 or self.scheduler.last_epoch % self.CHECKED == 0:
            self.finite(float(total(loss)))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        return logits, loss

    def loss_and_gradients(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and mean loss of a batch; the gradients of its micro-batches accumulate in the weights.

        Of several processes, each gives the part of the loss that its images have, and gets the gradients of the whole.
        """
        self.weight, logits, losses = total(self.class_weights[targets].sum() * self.counts), [], []
        for part, wanted in zip(images.split(self.micro_batch), targets.split(self.micro_batch), strict=True):
            with (torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32),
                  folded(self.pairs or ())):
                out = self.forward(part)
            loss = nn.functional.cross_entropy(out.float(), wanted, weight=self.class_weights, reduction="sum",
                                               label_smoothing=self.recipe.label_smoothing) / self.weight * self.counts
            self.scaler.scale(loss * world()).backward()  # DistributedDataParallel takes the mean over processes
            logits.append(out.detach().float())
            losses.append(loss.detach())
        return torch.cat(logits), torch.stack(losses).sum()

    def finite(self, loss: float, part: str = "") -> float:
        """The loss; ValueError where it is NaN or infinite, before it reaches a checkpoint."""
        if math.isfinite(loss):
            return loss
        if not self.scheduler.last_epoch:
            raise ValueError(f"The loss of the very first batch is {loss}: the initial weights are at fault, so choose "
                             "another ARCHITECTURE or other WEIGHTS.")
        kept = f" {self.checkpoint.name} keeps the best weights so far, those of epoch {best_epoch(self.history)}." \
            if self.checkpoint and self.history else ""
        raise ValueError(f"The loss{part} is {loss} in epoch {len(self.history) + 1}: lower LEARNING_RATE (now "
                         f"{self.recipe.learning_rate:g}).{kept}")

    def train_epoch(self, loader: DataLoader, bar: bool) -> tuple[float, float, np.ndarray]:
        """One epoch: (cross-entropy, objective, (images, 2) true and predicted classes).

        The cross-entropy is plain, a mean over images. The objective is what is optimised, with label smoothing and class
        weights; its mean is weighted by the images' class weights, so that it does not depend on the batches.
        """
        set_train_mode(self.model, self.recipe.batch_norm)
        sums, pairs = [], []
        bars = tqdm(loader, leave=False, disable=not bar, desc=f"epoch {len(self.history) + 1}")
        for place, (images, targets) in enumerate(bars):
            self.counts = float(place * loader.batch_sampler.batch_size + rank() < len(loader.dataset))
            images, targets = to_device(images, self.device), targets.to(self.device, non_blocking=True)
            logits, objective = self.step(images, targets)
            weight = self.class_weights[targets].sum() * self.counts
            plain = nn.functional.cross_entropy(logits, targets, reduction="sum") * self.counts
            sums.append(torch.stack([plain, objective * self.weight, weight]))
            pairs.append(torch.stack([targets, logits.argmax(1)], 1)[:len(targets) if self.counts else 0])
        found = np.concatenate(gather(torch.cat(pairs).cpu().numpy()))
        loss, objective, weights = sum(gather(torch.stack(sums).cpu().double().sum(0))).tolist()
        return self.finite(loss / len(found)), objective / weights, found

    def state(self) -> dict:
        """All that is needed to resume after this epoch."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "best": self.best,
                "scheduler": self.scheduler.state_dict(), "history": self.history, "micro_batch": self.micro_batch,
                "scaler": self.scaler.state_dict()}

    def load(self, state: Mapping) -> None:
        """Resume from a `state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.best, self.history, self.micro_batch = state["best"], list(state["history"]), state["micro_batch"]


def fit(model: nn.Module, train: DataLoader, val: DataLoader, recipe: Recipe, *, classes: Sequence[str],
        precision: torch.dtype = torch.float32, checkpoint: Path | None = None, stamp: str = "",
        bar: bool = False, after_epoch: Callable[[dict], object] | None = None) -> tuple[dict, pd.DataFrame]:
    """Train; returns the weights of the best epoch (by validation mean class accuracy) and the history.

    With `checkpoint`, a path, the state is written after every epoch; training resumes from a file there with the same
    `stamp`, with the same result as without interruption: all randomness of an epoch follows from its number and the seed.
    History: epoch, train_loss, val_loss (both the plain cross-entropy in nats), train_objective (what is optimised, with
    label smoothing and class weights), train_accuracy, val_accuracy, train_/val_mean_class_accuracy, train_/val_
    accuracy_<class>, seconds, lr (of the head, at the end). Training losses and accuracies are measured during
    training, on augmented images; validation is scored in float32. `after_epoch` is called with each
    row. ValueError: the loss of a batch or of validation is NaN or infinite; the checkpoint is left as it was.
    """
    trainer = Trainer(model, train, recipe, len(classes), precision, checkpoint)
    if checkpoint is not None and checkpoint.exists():
        state = _read_checkpoint(checkpoint)
        if state.get("stamp") == stamp:
            trainer.load(state)
            print(f"resuming after epoch {len(trainer.history)} of {recipe.epochs} ({checkpoint.name})")
    while len(trainer.history) < recipe.epochs and not _out_of_patience(trainer.history, recipe.patience):
        epoch, start = len(trainer.history) + 1, time.perf_counter()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            _begin_epoch(train, recipe.seed, epoch)
            with tf32():
                train_loss, train_objective, train_pairs = trainer.train_epoch(train, bar)
            probabilities, val_losses = predict(model, val)
        val_pairs = np.stack([val.dataset.targets, probabilities.argmax(1)], 1)
        row = {"epoch": epoch, "train_loss": train_loss, "train_objective": train_objective,
               "val_loss": trainer.finite(float(val_losses.mean()), " on validation"),
               **_accuracies("train", train_pairs, classes), **_accuracies("val", val_pairs, classes),
               "seconds": time.perf_counter() - start, "lr": trainer.optimizer.param_groups[-1]["lr"]}
        trainer.history.append(row)
        if best_epoch(trainer.history) == epoch:
            trainer.best = {name: weight.detach().cpu().clone() for name, weight in model.state_dict().items()}
        first(lambda: _keep(trainer, stamp, after_epoch))
    return trainer.best, pd.DataFrame(trainer.history)


def _begin_epoch(loader: DataLoader, seed: int, epoch: int) -> None:
    """From here on all chance follows from seed and epoch: dropout, the order of the images, their augmentation.

    In each of several processes, dropout has draws of its own: it has other images.
    """
    torch.manual_seed(seed * 100_003 + epoch + rank() * 2**48)
    if isinstance(loader.batch_sampler.sampler, EpochSampler):
        loader.batch_sampler.sampler.begin(seed, epoch)


def _keep(trainer: Trainer, stamp: str, after_epoch: Callable[[dict], object] | None) -> None:
    """Write the checkpoint, and pass the last row of the history on."""
    if trainer.checkpoint is not None:
        with atomic_write(trainer.checkpoint) as temporary:
            torch.save(trainer.state() | {"stamp": stamp}, temporary)
    if after_epoch is not None:
        after_epoch(trainer.history[-1])


def _together(model: nn.Module, recipe: Recipe) -> nn.Module:
    """The network as several processes train it: gradients, and statistics of batch norm on CUDA, are those of all."""
    device = next(model.parameters()).device
    if recipe.batch_norm == "update" and device.type == "cuda":
        model = convert_sync_batchnorm(model)  # timm's: that of torch.nn leaves out the activations in its BatchNormAct2d
    return nn.parallel.DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def _read_checkpoint(path: Path) -> dict:
    """The state in a checkpoint, or {} where it cannot be read or holds none (then training starts from the beginning)."""
    state = read_cached(path)
    return state if state.keys() >= {"model", "optimizer", "best", "scheduler", "history", "micro_batch", "scaler"} else {}


def _accuracies(part: str, pairs: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Overall, mean class and per-class accuracy (recall) of (true, predicted) pairs; NaN for a class without images."""
    by_class = recall_score(*pairs.T, labels=range(len(classes)), average=None, zero_division=np.nan)
    return {f"{part}_accuracy": float(np.mean(pairs[:, 0] == pairs[:, 1])),
            f"{part}_mean_class_accuracy": float(np.nanmean(by_class)),
            **{f"{part}_accuracy_{name}": float(value) for name, value in zip(classes, by_class, strict=True)}}


def best_epoch(history: Sequence[Mapping]) -> int:
    """The epoch with the highest validation mean class accuracy; among ties, the one with the lowest validation loss.

    The order in which a mean is summed makes no difference: equal to 9 digits is equal.
    """
    return max(history, key=lambda row: (round(row["val_mean_class_accuracy"], 9), -row["val_loss"]))["epoch"]


def _out_of_patience(history: Sequence[Mapping], patience: int) -> bool:
    return patience > 0 and bool(history) and history[-1]["epoch"] - best_epoch(history) >= patience


def print_epoch(row: Mapping) -> None:
    """Print one line on an epoch: its losses, accuracies and time."""
    train, val = row["train_mean_class_accuracy"], row["val_mean_class_accuracy"]
    print(f"epoch {row['epoch']:2d}: loss {row['train_loss']:.3f} on train, {row['val_loss']:.3f} on validation · mean "
          f"class accuracy {format_share(train)} on train, {format_share(val)} on validation · "
          f"{format_duration(row['seconds'])}", flush=True)
