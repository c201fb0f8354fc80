"""How many planted copies the search for near duplicates finds, by kind; and the pairs that it finds besides.

Copies the images of a folder (or drawn scenes) to a working folder, and into it, forty of each kind, copies of random
images: JPEG quality 40 to 95, scaled by 0.5 to 2, cropped by up to 8% of each side, brightness ±15%, mirrored (all but
the first are saved with quality 90). Then one search. Pairs that were not planted are listed, and shown side by side in
pairs.png.

    python benchmarks/near_duplicates.py --images drawn --work data/near_duplicates
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance, ImageOps

from inside import files
from inside.curation import near_duplicates as near
from inside.data.demo.scenes import write_demo_set
from inside.data.grids import plot_images, short_paths
from inside.data.sources import open_dataset
from inside.data.split import split_images
from inside.data.table import decode_images, load_image


def scaled(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = 2 ** rng.uniform(-1, 1)
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    sides, starts = 1 - rng.uniform(0, 0.08, 2), rng.uniform(0, 1, 2)
    left, top = (1 - sides) * starts * image.size
    return image.crop(tuple(np.round([left, top, left + sides[0] * image.width, top + sides[1] * image.height]).astype(int)))


KINDS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "jpeg": lambda image, rng: image,
    "scaled": scaled,
    "cropped": cropped,
    "brightness": lambda image, rng: ImageEnhance.Brightness(image).enhance(rng.uniform(0.85, 1.15)),
    "mirrored": lambda image, rng: ImageOps.mirror(image)}


def plant(folder: Path, seed: int, each: int = 40) -> pd.DataFrame:
    """Copies of random images beside them; path, copy, kind."""
    rng = np.random.default_rng(seed)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = []
    for number, place in enumerate(rng.choice(len(paths), each * len(KINDS), replace=False)):
        kind, path = list(KINDS)[number // each], paths[place]
        copy = path.with_name(f"planted-{number}-{path.stem}.jpg")
        KINDS[kind](load_image(path), rng).save(copy, quality=int(rng.integers(40, 96)) if kind == "jpeg" else 90)
        rows.append((path.relative_to(folder).as_posix(), copy.relative_to(folder).as_posix(), kind))
    return pd.DataFrame(rows, columns=["path", "copy", "kind"])


def make(images: str, folder: Path, seed: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if images == "drawn":
        write_demo_set(folder, n_images=900, seed=7)
    else:
        shutil.copytree(images, folder, copy_function=shutil.copyfile)


def print_measures(table: pd.DataFrame, root: Path, planted: pd.DataFrame) -> None:
    """The extremes of the copies, and of the candidates that are none: what the limits were chosen from."""
    place = dict(zip(table["path"], range(len(table)), strict=True))
    there = planted[planted["path"].isin(place) & planted["copy"].isin(place)]
    first, second = (there[side].map(place).to_numpy() for side in ("path", "copy"))
    thumbnails, features = near.make_thumbnails(table, root), near.pretrained_features(table, root)
    hashes, kind = near.perceptual_hashes(thumbnails), there["kind"].to_numpy()
    copies = near.align_pairs(thumbnails, hashes, first, second, bits=63).assign(
        cosine=near.cosines(features, first, second), kind=kind)
    print(copies.groupby("kind", sort=False).agg({"distance": "max", "cosine": "min", "correlation": "min"}).round(2))
    original = np.arange(len(table))
    original[second] = first
    one, other = near.candidate_pairs(hashes)
    unlike = original[one] != original[other]
    one, other, n = one[unlike], other[unlike], len(table)
    alike = near.cosines(features, one, other) >= near.COSINE
    correlation = near.align_pairs(thumbnails, hashes, one[alike], other[alike])["correlation"]
    print(f"other pairs: {200 * len(one) / n / (n - 1):.2f}% within {near.BITS} bits, {100 * alike.mean():.0f}% of these "
          f"from a cosine of {near.COSINE} on, their highest correlations {np.sort(correlation)[-12:].round(2).tolist()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="drawn", help="a folder of class folders")
    parser.add_argument("--work", type=Path, default=files.DATA / "near_duplicates", help="where copies and caches are kept")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    files.DATA, folder = options.work, options.work / "images"
    options.work.mkdir(parents=True, exist_ok=True)
    make(options.images, folder, options.seed)
    planted = plant(folder, options.seed)
    images, _ = decode_images(open_dataset(str(folder)), cache=options.work / "cache")
    table = images.table.drop_duplicates("sha256").reset_index(drop=True)
    start = time.perf_counter()
    found = near.find_pairs(table, images.root)
    print(f"{len(table):,} images, {time.perf_counter() - start:.0f} s; "
          f"{found.why_not or f'confirmed from {found.limit:.2f}'}; by chance: {found.by_chance:.2g} pairs")
    pairs = found.table.assign(**{side: table["path"].to_numpy()[found.table[side]] for side in ("first", "second")})
    ends = [frozenset(pair) for pair in zip(pairs["first"], pairs["second"], strict=True)]
    wanted = [frozenset(pair) for pair in zip(planted["path"], planted["copy"], strict=True)]
    recall = planted.assign(found=[pair in ends for pair in wanted]).groupby("kind", sort=False)["found"].mean()
    print(recall.to_string(), f"\nthe first four: {recall.drop('mirrored').mean():.3f}")
    print_measures(table, images.root, planted)
    original = dict(zip(planted["copy"], planted["path"], strict=True))
    others = pairs[[pair not in wanted for pair in ends]]
    different = {frozenset(original.get(path, path) for path in pair) for pair in ends if pair not in wanted}
    print(f"{len(pairs)} pairs, {len(pairs) - len(others)} of them planted: precision at least "
          f"{1 - len(others) / max(1, len(pairs)):.3f}; the others are {len(different)} pairs of originals")
    print(others.round(3).to_string())
    split = split_images(images, [0.7, 0.12, 0.18], seed=0).table.set_index("path")["split"]
    across = sum(split[one] != split[other] for one, other in map(tuple, different))
    print(f"{across} of these {len(different)} lie across a random split")
    if len(others):
        ends = others[["first", "second"]].to_numpy().ravel().tolist()
        plot_images([load_image(folder / path) for path in ends], short_paths(ends), columns=8).savefig(
            options.work / "pairs.png", dpi=70)


if __name__ == "__main__":
    main()
