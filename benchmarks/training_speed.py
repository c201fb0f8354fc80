"""Training speed of this project, as ratios within one run to an expert's plain loop, to fastai and to what can be had.

Each has a process of its own, since what this project sets for its process (see inside/device.py) would help the others.
All train all layers of the same torchvision network (random weights: speed does not depend on them) on the same files,
decoded and augmented in each one's usual way, batches of 32 at 224×224, the same number of threads. That of this project
decodes every file once, before it trains.

- expert: a plain loop with channels_last, bfloat16 where the hardware has it, random resized crops and flips of
  torchvision, ImageFolder; on a GPU with worker processes, pinned memory and a fused optimiser.
- fastai: `Learner.fit(1)` as its users run it; float32 on processors, `to_fp16` and channels_last on a GPU.
- memory: this project's steps on images that are on the device already; what loading costs is the ratio to it.
- matrix products: the rate of large products in the precision of training; the share of it that training reaches counts a
  multiply-accumulate of the network as six operations, forward and backward.

    python benchmarks/training_speed.py --network resnet50 --images 192 --turns 5
    python benchmarks/training_speed.py --network convnet_gap --options '{"widths": [64, 128, 256, 256]}' --side 32 \
        --size 32 --images 6000 --batch 128 --no-peers
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from PIL import Image as PILImage
from torch import nn
from torchvision import datasets
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).parent))
from turns import Row, print_table, ratios, take_turns

from inside import files
from inside.data.demo.scenes import write_demo_set
from inside.data.loading import ImageDataset, count_cores, make_loader, to_device
from inside.data.sources import open_dataset
from inside.data.table import decode_images
from inside.data.transforms import make_transform
from inside.device import choose_device, choose_precision, tf32
from inside.models.build import build_network
from inside.models.surgery import count_costs, set_train_mode
from inside.training.loop import Trainer
from inside.training.recipe import Recipe

Rate = Callable[[], float]
MEAN, STD = [0.5] * 3, [0.25] * 3


def network(options: argparse.Namespace, n_classes: int) -> tuple[nn.Module, dict]:
    return build_network(options.network, n_classes, weights="random", image_size=options.size, options=options.options)


def plain_device() -> torch.device:
    """Where the others compute, without what `choose_device` sets for a process of this project."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(work: Callable[[], int], device: torch.device) -> float:
    """Images a second of work that returns how many images it took."""
    finish(device)
    start = time.perf_counter()
    count = work()
    finish(device)
    return count / (time.perf_counter() - start)


def our_contenders(options: argparse.Namespace, folder: Path, cache: Path) -> dict[str, Rate]:
    """An epoch as notebook 01 trains it, and as many steps on images in memory; `cache`: a place for decoded images."""
    files.DATA = cache
    source, device = decode_images(open_dataset(str(folder)), cache=cache)[0], choose_device()
    model, preprocessing = network(options, len(source.classes))
    dataset = ImageDataset(source.table, source.root, source.classes,
                           make_transform(preprocessing, options.size, options.augmentation))
    loader = make_loader(dataset, batch_size=options.batch, shuffle=True, workers="auto", device=device)
    recipe = Recipe(epochs=1000, batch_norm=options.batch_norm)
    trainer = Trainer(model.to(device), loader, recipe, len(source.classes), choose_precision("auto", device))
    images = to_device(torch.randn(options.batch, 3, options.size, options.size), device)
    targets = torch.arange(options.batch, device=device) % len(source.classes)

    def epoch() -> int:
        with tf32():
            trainer.train_epoch(loader, bar=False)
        return len(dataset)

    def memory() -> int:
        set_train_mode(trainer.model, recipe.batch_norm)
        with tf32():
            for _ in range(len(loader)):
                trainer.step(images, targets)
        return len(loader) * options.batch
    return {"ours": lambda: timed(epoch, device), "memory": lambda: timed(memory, device)}


def expert(options: argparse.Namespace, folder: Path) -> Rate:
    """A plain loop over ImageFolder."""
    device = plain_device()
    precision = choose_precision("auto", device)
    images = datasets.ImageFolder(folder, v2.Compose([
        v2.RandomResizedCrop(options.size, scale=(0.7, 1.0)), v2.RandomHorizontalFlip(), v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]))
    cuda = device.type == "cuda"
    workers = min(16, count_cores() - 1) if cuda else 0
    loader = torch.utils.data.DataLoader(images, options.batch, shuffle=True, num_workers=workers, pin_memory=cuda,
                                         persistent_workers=workers > 0, prefetch_factor=4 if workers else None)
    model = network(options, len(images.classes))[0].to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=cuda)

    def epoch() -> int:
        model.train()
        for module in model.modules():
            if options.batch_norm == "frozen" and isinstance(module, nn.BatchNorm2d):
                module.eval()
        for batch, targets in loader:
            batch = batch.to(device, memory_format=torch.channels_last, non_blocking=True)
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                loss = nn.functional.cross_entropy(model(batch), targets.to(device, non_blocking=True))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return len(images)
    return lambda: timed(epoch, device)


def fastai(options: argparse.Namespace, folder: Path) -> Rate:
    """An epoch of fastai."""
    from fastai.vision.all import CrossEntropyLossFlat, ImageDataLoaders, Learner, RandomResizedCrop
    device = plain_device()
    cuda, count = device.type == "cuda", len(open_dataset(str(folder)).table)
    loaders = ImageDataLoaders.from_folder(folder, valid_pct=2 / count, seed=0, bs=options.batch,
                                           num_workers=min(16, count_cores() - 1) if cuda else 0,
                                           item_tfms=RandomResizedCrop(options.size, min_scale=0.7))
    learner = Learner(loaders, network(options, len(loaders.vocab))[0], loss_func=CrossEntropyLossFlat())
    learner = learner.to_fp16().to_channelslast() if cuda else learner

    def epoch() -> int:
        with learner.no_bar(), learner.no_logging():
            learner.fit(1)
        return len(loaders.train) * options.batch  # fastai drops the last, smaller batch
    return lambda: timed(epoch, device)


def matrix_products() -> float:
    """Operations a second of large products in the precision of training."""
    device = plain_device()
    n = 8192 if device.type == "cuda" else 2048
    one, other = (torch.randn(n, n, device=device, dtype=choose_precision("auto", device)) for _ in range(2))

    def products() -> int:
        for _ in range(10):
            one @ other
        return 10 * 2 * n**3
    products()
    return timed(products, device)


def serve(line: Connection, name: str, options: argparse.Namespace, folder: Path, cache: Path) -> None:
    """Answer each message with the rate of a contender."""
    rate = {"expert": lambda: expert(options, folder), "fastai": lambda: fastai(options, folder),
            "matrix products": lambda: matrix_products}.get(name, lambda: our_contenders(options, folder, cache)[name])()
    while line.recv():
        line.send(rate())


def contender(*given: object) -> Rate:
    """The rate of a contender in a process of its own, which ends with this one."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs, *given), daemon=True).start()

    def rate() -> float:
        ours.send(True)
        return ours.recv()
    return rate


def rows(options: argparse.Namespace) -> list[Row]:
    names = ["ours", "memory", *([] if options.no_peers else ["expert", "fastai"]), "matrix products"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder) if options.folder else drawn(Path(temporary), options.images, options.side)
        contenders = {name: contender(name, options, folder, Path(temporary) / name) for name in names}
        found = take_turns(contenders, options.turns)
    macs = count_costs(network(options, 6)[0].eval(), options.size, 3)["macs"]
    share = [6 * macs * rate for rate in ratios(found, "memory", "matrix products")]
    name = f"{options.network}, batch norm {options.batch_norm}"
    goals = {"expert": options.expert_goal, "fastai": options.fastai_goal, "memory": options.memory_goal}
    return [*(Row(f"{name}: images a second, to {other}", ratios(found, "ours", other), at_least=goals[other])
              for other in names[1:-1]),
            Row(f"{name}: share of the rate of matrix products", share, at_least=options.share_goal)]


def drawn(folder: Path, n: int, side: int) -> Path:
    """A folder of n drawn scenes, reduced to side × side pixels unless that is 0; above 600, copies of these."""
    scenes = write_demo_set(folder / "scenes", n_images=min(n, 600))
    files = [path for path in sorted(scenes.rglob("*.*")) if path.is_file()]
    for path in files if side else ():
        PILImage.open(path).resize((side, side)).save(path)
    for copy in range(1, -(-n // 600)):
        for path in files:
            shutil.copy(path, path.with_name(f"{copy}-{path.name}"))
    return scenes


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--augmentation", default="light")
    parser.add_argument("--batch-norm", default="update", choices=["update", "frozen"])
    parser.add_argument("--options", type=json.loads, default={}, help="the network's, as JSON")
    parser.add_argument("--side", type=int, default=0, help="reduce the drawn scenes to this many pixels first")
    parser.add_argument("--folder", help="a folder of class folders (default: scenes drawn for it)")
    parser.add_argument("--no-peers", action="store_true", help="neither the expert's loop nor fastai")
    for name in ("expert", "fastai", "memory", "share"):
        parser.add_argument(f"--{name}-goal", type=float, default=0.0)
    return parser


if __name__ == "__main__":
    print_table(rows(parser().parse_args()))
