"""Six classes of outdoor scenes for the notebooks when no photographs are at hand.

The images are drawn by this program, not photographed: layered ridges, water, ice, trees, facades and roads, put
together at random, in changing light and weather. A share of every class is drawn close to another class (glacier and
mountain, buildings and street above all), so a good classifier makes a few honest mistakes; no label is wrong.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from inside.data.demo.canvas import GRASS, LEAVES, NEEDLES, PAVEMENT, ROCKS, SNOW_SHADE, Scene, _clip, _image
from inside.data.demo.city import avenue, car, corner_house, cross_road, furnish, lamp, low_angle, skyline, terrace
from inside.data.demo.nature import (
    beach,
    boat,
    broadleaf,
    conifers,
    headland,
    hills,
    ice_cliff,
    ice_flow,
    iceberg,
    inside_forest,
    ridge,
    surf,
    water,
)
from inside.files import one_at_a_time, shown_path

VERSION = 1  # goes up whenever the same seed gives other drawings
CLASSES = ("buildings", "forest", "glacier", "mountain", "sea", "street")
N_MIN, N_MAX = 60, 17_034
EDGE = 0.5  # share of each class that is drawn close to another class


def draw_mountain(s: Scene, edge: bool) -> None:
    """Ranges behind each other over trees, meadow, lake or rocks; near glacier or forest: some ice, woods."""
    rock, base, kind = s.pick(*ROCKS), s.u(0.62, 0.9), s.pick("trees", "trees", "meadow", "lake", "rocks")
    snow, wooded = s.u(0.15, 0.4) if edge else max(0, s.u(-0.08, 0.3)), edge and s.u() < 0.3
    if wooded:
        base, kind = s.u(0.45, 0.6), "trees"
    for k in range(int(s.u(1, 4))):
        ridge(s, base - 0.12 + 0.06 * k, s.u(0.25, 0.5), 0.65 - 0.18 * k, snow * 0.8, rock)
    ridge(s, base + 0.05, s.u(0.45, 0.75), 0.1, snow, rock, s.pick(2, 3, 4, 5))
    if edge and not wooded:
        w, x = s.u(0.05, 0.17), s.u(0.25, 0.75)
        ice_flow(s, base - s.u(0.25, 0.38), min(base + 0.15, 1), w * 0.5, w, x, x + s.u(-0.2, 0.2))
        kind = s.pick(kind, "lake", "rocks")
    if kind == "lake":
        water(s, s.u(base, 0.92), (0.25, 0.45, 0.55), 0.75, 0.25, False)
    elif kind == "rocks":
        ridge(s, base + 0.3, 0.28, 0, snow * 0.3, np.multiply(rock, 0.8), 5)
    else:
        hills(s, base - 0.02, s.pick(*NEEDLES), 0.25, trees=0.05)
        hills(s, base + 0.1, s.pick(*GRASS), 0.05)
        if kind == "trees":
            conifers(s, base + 0.08, 1.05, int(s.u(3, 12)), s.u(0.12, 0.3))


def draw_glacier(s: Scene, edge: bool) -> None:
    """An ice stream, an ice field, a front in the water or icebergs; near mountain: much rock, a narrow stream."""
    rock, snow, base = s.pick(*ROCKS), s.u(0.05, 0.35), s.u(0.42, 0.6)
    kind = "valley" if edge else s.pick("valley", "valley", "front", "lagoon", "field")
    ridge(s, base - 0.02, s.u(0.25, 0.45), 0.5, snow, rock)
    x = s.u(0.25, 0.75)
    if kind == "valley":
        w, foot = (s.u(0.12, 0.3), s.pick(1.02, s.u(0.8, 0.95))) if edge else (s.u(0.3, 0.6), 1.02)
        ridge(s, base + s.u(0.05, 0.2), s.u(0.3, 0.55), 0.15, snow, rock)
        ice_flow(s, base - s.u(0.12, 0.2), foot, w * s.u(0.2, 0.5), w, x, s.u(0.25, 0.75))
        if foot < 1:
            water(s, foot, (0.45, 0.62, 0.65), 0.6, 0.3, False)
        elif s.u() < 0.4:
            ridge(s, 1.25, 0.35, 0, 0.02, np.multiply(rock, 0.8), 3)
    elif kind == "field":
        ridge(s, base + 0.08, s.u(0.2, 0.4), 0.2, snow, rock)
        ice_flow(s, base, 1.02, s.u(0.5, 0.8), s.u(1.2, 1.8), x, 0.5)
    else:
        foot = s.u(0.58, 0.75)
        if kind == "front" or s.u() < 0.4:
            ice_flow(s, base - s.u(0.1, 0.2), foot, 0.25, s.u(0.5, 0.9), x, s.u(0.3, 0.7))
            ice_cliff(s, foot, s.u(0.08, 0.25))
        water(s, foot, s.pick((0.30, 0.52, 0.60), (0.42, 0.60, 0.64), (0.20, 0.38, 0.48)), 0.6, 0.4, False)
        with s.ink() as pen:
            for t in np.sort(s.rng.random(int(s.u(4, 16))) ** 1.5).tolist():
                size = (0.05 + 0.3 * t) * s.u(0.4, 1.2)
                iceberg(pen, s, s.u(), foot + 0.02 + (0.95 - foot) * t, size, 0.3 * (1 - t))


def draw_sea(s: Scene, edge: bool) -> None:
    """Open water to the horizon with surf, beach, cliffs or boats; near mountain and glacier: ranges, floating ice."""
    horizon, kind = s.u(0.3, 0.6), s.pick("open", "surf", "beach", "beach", "headland", "boats")
    if edge:
        ridge(s, horizon + 0.04, s.u(0.15, 0.4), 0.35, s.u(0, 0.3), s.pick(*ROCKS))
    elif s.u() < 0.3:
        ridge(s, horizon + 0.03, s.u(0.04, 0.12), 0.5, 0, s.pick((0.35, 0.42, 0.3), *ROCKS), 3)
    rgb = s.pick((0.10, 0.36, 0.55), (0.12, 0.48, 0.58), (0.22, 0.42, 0.50), (0.08, 0.28, 0.48), (0.15, 0.55, 0.62))
    water(s, horizon, rgb, s.u(0.15, 0.5), s.u(0.5, 1.5))
    if kind in ("surf", "beach"):
        for t in np.sort(s.rng.uniform(0.12, 0.8, s.rng.integers(1, 5))):
            surf(s, horizon + (1 - horizon) * t, (0.015 + 0.06 * t) * s.u(0.6, 1.4))
    if kind == "beach":
        beach(s, s.u(0.7, 0.95))
    elif kind == "headland":
        headland(s, horizon)
    elif kind == "boats" or edge:
        with s.ink() as pen:
            for t in np.sort(s.rng.uniform(0.02, 0.5, s.rng.integers(1, 5))).tolist():
                x, y = s.u(0.1, 0.9), horizon + (1 - horizon) * t
                if edge and s.u() < 0.5:
                    iceberg(pen, s, x, y, 0.05 + 0.15 * t)
                else:
                    boat(pen, s, x, y, 0.04 + 0.45 * t)


def draw_forest(s: Scene, edge: bool) -> None:
    """Among trunks, wooded slopes, round trees on grass; near mountain: slopes under a range."""
    kind = s.pick("slopes", "inside") if edge else s.pick("slopes", "inside", "inside", "leafy", "leafy")
    if kind == "inside":
        return inside_forest(s)
    snowy = s.u() < 0.2
    if edge:
        ridge(s, s.u(0.4, 0.55), s.u(0.25, 0.4), 0.4, s.u(0, 0.25), s.pick(*ROCKS))
    if kind == "slopes":
        y, rgb, n_rows = s.u(0.3, 0.5), np.array(s.pick(*NEEDLES)), int(s.u(3, 6))
        for t in np.arange(n_rows) / n_rows:
            hills(s, y + (1 - y) * t, rgb * s.u(0.9, 1.2), 0.6 * (1 - t), 0.08, 0.05 + 0.07 * t, "tall")
        conifers(s, 0.85, 1.15, int(s.u(4, 14)), s.u(0.3, 0.6), snowy)
        return None
    hills(s, 0.5, s.pick(*LEAVES), 0.5, 0.06, 0.1, "tall")
    hills(s, s.u(0.6, 0.75), SNOW_SHADE if snowy else s.pick(*GRASS), 0.05)
    palette = s.pick(*LEAVES), s.pick(*LEAVES)
    with s.ink() as pen:
        for t in np.sort(s.rng.random(11)).tolist():
            leaf, tall = np.multiply(s.pick(*palette), s.u(0.8, 1.15)), (0.35 + 0.5 * t) * s.u(0.8, 1.2)
            broadleaf(pen, s, s.u(-0.05, 1.05), 0.66 + 0.34 * t, tall, leaf, 0.4 * (1 - t))
    return None


def draw_buildings(s: Scene, edge: bool) -> None:
    """Skylines, towers from below, a corner house, a row of houses; near street: with a road in front."""
    kind = s.pick("row", "row", "corner") if edge else s.pick("skyline", "skyline", "low", "corner", "row")
    if kind == "low":
        return low_angle(s, int(s.u(2, 5)))
    foot = s.u(0.66, 0.84) if edge else s.u(0.88, 1.02)
    if s.u() < 0.6:
        skyline(s, foot, 0.3, 0.6, 0.55, 0.1)
    if kind == "skyline":
        skyline(s, foot, 0.35, 0.75, 0.22, 0.15)
        skyline(s, foot + 0.02, 0.15, 0.5, 0, 0.22)
    elif kind == "row":
        terrace(s, foot, s.u(0.4, 0.65))
    else:
        skyline(s, foot, 0.2, 0.45, 0.3)
        corner_house(s, s.u(0.25, 0.75), foot - 0.1, s.u(0.5, 0.85), s.u(0.3, 0.8))
    if edge:
        cross_road(s, foot)
    elif s.u() < 0.5:
        hills(s, foot, s.pick(PAVEMENT, *GRASS), 0, 0.01)
    with s.ink() as pen:
        for _ in range(int(s.u(0, 5))):
            broadleaf(pen, s, s.u(), foot + 0.05, s.u(0.12, 0.28), s.pick(*LEAVES))
        for _ in range(int(s.u(0, 4)) if edge else 0):
            car(pen, s, s.u(), s.u(foot + 0.08, 0.98), s.u(0.16, 0.24), side=True)
    return None


def draw_street(s: Scene, edge: bool) -> None:
    """A street to its vanishing point; near buildings: a narrow one, or a road running across before houses."""
    if edge and s.u() < 0.6:
        foot = s.u(0.54, 0.74)
        terrace(s, foot, s.u(0.35, 0.6))
        cross_road(s, foot)
        with s.ink() as pen:
            for x in s.rng.random(int(s.u(0, 4))).tolist():
                lamp(pen, s, x, foot + 0.08, s.u(0.3, 0.45), s.pick(-1, 1))
            for y in np.sort(s.rng.uniform(foot + 0.12, 0.97, s.rng.integers(1, 5))).tolist():
                car(pen, s, s.u(), y, 0.16 + 0.3 * (y - foot), side=True)
        return
    road, walk, tall = (s.u(0.14, 0.22), s.u(0.05, 0.12), 1.2) if edge else (s.u(0.25, 0.45), s.u(0.08, 0.2), 1)
    vx, vy, eye = s.u(0.3, 0.7), s.u(0.42, 0.62), s.u(0.16, 0.24)
    skyline(s, vy + 0.02, 0.08, 0.25, 0.8, 0.08)
    avenue(s, road, road + walk, vx, vy, eye, s.u(0.35, 0.8) * tall)
    furnish(s, road, road + walk, vx, vy, eye)


def weather(s: Scene) -> None:
    """Fog, rain, falling snow or haze over the whole picture, in about a third of the pictures."""
    kind = s.u()
    if kind < 0.10:
        s.cover(_clip(s.u(0.1, 0.4) + 0.12 * s.tex("soft") + 0.25 * (0.6 - np.abs(s.y - 0.5)), 0, 0.7), s.haze)
    elif kind < 0.18:
        s.cover(_clip(s.tex("tall") + s.tex("fine") - 2.3) * 0.35 + 0.1, s.haze * 0.9)
    elif kind < 0.25:
        with s.ink() as pen:
            for x, y, r in s.rng.random((int(s.u(40, 110)), 3)).tolist():
                pen.dot(x, y, 0.002 + 0.006 * r**3, 0.002 + 0.007 * r**3, np.minimum(s.haze * 0.5 + 0.5, 1))
    elif kind < 0.32:
        s.cover(s.u(0.1, 0.3), s.haze)


def camera(s: Scene) -> Image.Image:
    """Exposure, contrast, brush texture, vignette, sensor noise and blur."""
    shade = (1 - s.u(0, 0.5) * ((s.x - 0.5) ** 2 + (s.y - 0.5) ** 2)) * (1 + 0.02 * s.tex("fine"))
    px = ((s.px * s.u(0.87, 1.1) - 0.5) * s.u(0.95, 1.18) + 0.5) * shade
    px += s.rng.standard_normal((s.n, s.n), np.float32) * np.float32(s.u(0.003, 0.02))
    blur = s.u(-0.8, 0.7)
    return _image(px).filter(ImageFilter.BoxBlur(blur)) if blur > 0 else _image(px)


def draw_scene(label: str, *, seed: int, index: int, size: int = 150) -> Image.Image:
    """Draw one picture of the class `label`: RGB, size by size pixels.

    The same label, seed and index give the same picture. ValueError if the label is not in CLASSES.
    """
    painters = (draw_buildings, draw_forest, draw_glacier, draw_mountain, draw_sea, draw_street)
    if label not in CLASSES:
        raise ValueError(f"unknown label {label!r}: must be one of {', '.join(CLASSES)}")
    rng = np.random.default_rng([seed, CLASSES.index(label), index])
    scene = Scene(rng, size)
    painters[CLASSES.index(label)](scene, rng.random() < EDGE)
    weather(scene)
    return camera(scene)


def write_demo_set(folder: Path, *, n_images: int = 1200, seed: int = 0, progress: Callable | None = None) -> Path:
    """Write n_images JPEG files (150 by 150) into class folders below `folder`; return the folder.

    The classes get equal shares, the first ones one more where it does not divide. A folder that already holds these
    counts is left as it is; of several processes at once, one draws. `progress` is called with (done, total) every 100
    images. ValueError if n_images is outside 60 to 17,034; FileExistsError if `folder` holds anything but such a set.
    """
    if not N_MIN <= n_images <= N_MAX:
        raise ValueError(f"n_images must be between {N_MIN} and {N_MAX}, not {n_images}")
    folder = Path(folder)
    counts = scene_counts(n_images)
    if not _holds(folder, counts):
        with one_at_a_time(folder):
            if not _holds(folder, counts):  # not made while this process waited either
                print(f"drawing {n_images:,} scenes into {shown_path(folder)}")
                _draw_set(folder, counts, seed, progress)
    return folder


def scene_counts(n_images: int) -> dict[str, int]:
    """{class: its images} of a set of n_images scenes."""
    return {label: n_images // 6 + (k < n_images % 6) for k, label in enumerate(CLASSES)}


def _holds(folder: Path, counts: Mapping[str, int]) -> bool:
    """Whether the class folders hold so many images."""
    return all(len(list((folder / label).glob("*.jpg"))) == count for label, count in counts.items())


def _draw_set(folder: Path, counts: Mapping[str, int], seed: int, progress: Callable | None) -> None:
    """Draw so many images of each class into a temporary folder that then becomes `folder`, in place of an older set."""
    if folder.exists() and any(p.is_file() and p.suffix != ".jpg" or p.is_dir() and p.name not in CLASSES
                               for p in folder.rglob("*")):
        raise FileExistsError(f"{folder} holds other files: choose an empty or a new folder")
    draft, done, total = folder.with_name(f".{folder.name}.draft"), 0, sum(counts.values())
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    draft.mkdir()
    try:
        for label, count in counts.items():
            (draft / label).mkdir()
            for index in range(1, count + 1):
                draw_scene(label, seed=seed, index=index).save(draft / label / f"{index:05d}.jpg", quality=90)
                done += 1
                if progress and (done % 100 == 0 or done == total):
                    progress(done, total)
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
