"""Six classes of outdoor scenes for the notebooks when no photographs are at hand.

The images are drawn by this program, not photographed: layered ridges, water, ice, trees, facades and roads, put
together at random, in changing light and weather. A share of every class is drawn close to another class (glacier and
mountain, buildings and street above all), so a good classifier makes a few honest mistakes; no label is wrong.

Inside, coordinates are fractions of the image side, x to the right and y down; colours are RGB from 0 to 1.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

VERSION = 1  # goes up whenever the same seed gives other drawings
CLASSES = ("buildings", "forest", "glacier", "mountain", "sea", "street")
N_MIN, N_MAX = 60, 17_034
EDGE = 0.5  # share of each class that is drawn close to another class

# name: weight, how dark (0 to 1), then five colours: sky above, sky at the horizon, haze, tint of all things, sun
LIGHTS = {
    "noon": (5, 0.0, (0.20, 0.48, 0.85), (0.72, 0.87, 0.97), (0.72, 0.83, 0.94), (1.00, 1.00, 0.98), (1, 0.99, 0.92)),
    "morning": (3, 0, (0.40, 0.62, 0.87), (0.99, 0.91, 0.80), (0.88, 0.86, 0.83), (1.02, 0.97, 0.90), (1, 0.95, 0.80)),
    "golden": (3, 0.1, (0.40, 0.50, 0.70), (1.00, 0.77, 0.46), (0.94, 0.74, 0.56), (1.02, 0.84, 0.66), (1, 0.87, 0.60)),
    "dawn": (2, 0.1, (0.46, 0.54, 0.80), (1.00, 0.80, 0.77), (0.86, 0.75, 0.80), (0.95, 0.84, 0.89), (1, 0.86, 0.80)),
    "dusk": (2, 0.6, (0.19, 0.18, 0.42), (0.96, 0.50, 0.42), (0.60, 0.41, 0.52), (0.70, 0.57, 0.68), (1, 0.65, 0.40)),
    "overcast": (3, 0.1, (0.60, 0.65, 0.70), (0.84, 0.86, 0.87), (0.77, 0.79, 0.81), (0.82, 0.84, 0.86), (1, 1, 0.97)),
    "storm": (1, 0.3, (0.29, 0.34, 0.41), (0.64, 0.68, 0.70), (0.55, 0.60, 0.64), (0.63, 0.67, 0.71), (1, 1, 0.95)),
    "night": (1.3, 1, (0.03, 0.05, 0.15), (0.16, 0.22, 0.40), (0.13, 0.18, 0.32), (0.34, 0.40, 0.58), (0.9, 0.93, 1)),
}
LEAVES = ((0.22, 0.42, 0.16), (0.32, 0.50, 0.18), (0.45, 0.52, 0.18), (0.78, 0.50, 0.14), (0.70, 0.32, 0.14))
NEEDLES = ((0.14, 0.30, 0.20), (0.18, 0.36, 0.22), (0.12, 0.28, 0.26), (0.22, 0.34, 0.16))
ROCKS = ((0.52, 0.48, 0.46), (0.46, 0.44, 0.48), (0.58, 0.48, 0.40), (0.42, 0.42, 0.44), (0.55, 0.52, 0.46))
WALLS = ((0.80, 0.72, 0.60), (0.72, 0.42, 0.32), (0.86, 0.82, 0.74), (0.62, 0.66, 0.70), (0.90, 0.78, 0.55),
         (0.55, 0.36, 0.30), (0.70, 0.76, 0.72), (0.84, 0.62, 0.50), (0.48, 0.52, 0.58), (0.58, 0.68, 0.78))
PAINTS = ((0.75, 0.16, 0.14), (0.16, 0.28, 0.55), (0.9, 0.9, 0.9), (0.15, 0.15, 0.17), (0.85, 0.65, 0.15))
GRASS = ((0.42, 0.52, 0.25), (0.60, 0.56, 0.32), (0.34, 0.46, 0.26), (0.50, 0.50, 0.24))
SNOW, SNOW_SHADE, ASPHALT, PAVEMENT = (0.96, 0.97, 1.0), (0.55, 0.66, 0.86), (0.33, 0.33, 0.35), (0.66, 0.63, 0.60)


# ---------------------------------------------------------------- canvas
@functools.cache
def _textures(size: int) -> dict[str, np.ndarray]:
    """Noise fields that repeat after 2*size pixels, mean 0, deviation 1: soft, fine, and wide or tall streaks."""
    rng, n, fields = np.random.default_rng(2024), 2 * size, {}
    fx, fy = np.fft.fftfreq(n)[None, :] * n, np.fft.fftfreq(n)[:, None] * n
    for name, (kx, ky, low, power) in {"soft": (1.4, 1, 7, 1.25), "fine": (1, 1, 60, 2.0),
                                       "wide": (4.5, 1, 40, 1.5), "tall": (1, 6, 50, 1.4)}.items():
        keep = 1 / (1 + (np.hypot(fx * kx, fy * ky) / low) ** 2) ** power
        field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, n))) * keep).real
        fields[name] = ((field - field.mean()) / field.std()).astype(np.float32)
    return fields


def _c(colour) -> np.ndarray:
    """A colour or a picture as float32 with the three channels first."""
    colour = np.asarray(colour, np.float32)
    return colour[:, None, None] if colour.ndim == 1 else colour


def _mix(a, b, t):
    """From a (t = 0) to b (t = 1)."""
    a = _c(a)
    return a + np.asarray(t, np.float32) * (_c(b) - a)


def _clip(t, low=0.0, high=1.0):
    return np.minimum(np.maximum(t, low), high)


class Scene:
    """One picture in the making: px is (3, size, size) float32; starts as a sky."""

    def __init__(self, rng: np.random.Generator, size: int):
        self.rng, self.n = rng, size
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x, self.y = axis[None, :], axis[:, None]
        weights = np.array([light[0] for light in LIGHTS.values()])
        light = LIGHTS[list(LIGHTS)[rng.choice(len(LIGHTS), p=weights / weights.sum())]]
        shift = rng.normal(0, 0.025, 3)
        self.dark, self.veiled = light[1], light[6][:2] == (1, 1)
        self.top, self.low, self.haze, self.tint, self.sun = (np.float32(_clip(c + shift, 0, 1.1)) for c in light[2:])
        self.sun_x, self.sun_y, self.air = self.u(0.05, 0.95), self.u(0.08, 0.4), self.u(0.6, 1.2)
        self.px, self.crest = np.zeros((3, size, size), np.float32), np.ones(size, np.float32)
        self.sky()

    def u(self, low=0.0, high=1.0) -> float:
        return low + (high - low) * self.rng.random()

    def pick(self, *items):
        return items[int(self.rng.random() * len(items))]

    def tone(self, rgb, depth=0.0):
        """The colour under this light, seen through depth (0 to 1) of hazy air."""
        lit = np.asarray(rgb, np.float32) * self.tint
        return lit + np.float32(min(depth * self.air, 0.95)) * (self.haze - lit)

    def tex(self, name: str, rows=slice(None), cols=slice(None)):
        i, j = (self.rng.random(2) * self.n).astype(int)
        return _textures(self.n)[name][i:i + self.n, j:j + self.n][rows, cols]

    def line(self, knots=4, octaves=5, rough=0.5):
        """A fractal line over the width of the picture, about -1 to 1: (size,)."""
        out = np.zeros(self.n)
        for k in range(octaves):
            m = knots * 2**k + 1
            out += np.interp(self.x[0], np.arange(m) * 1.2 / (m - 1) - 0.1, self.rng.random(m) * 2 - 1) * rough**k
        return np.float32(out / (1 + rough))

    def row(self, y: float) -> int:
        return int(min(max(round(float(y) * self.n), 0), self.n))

    def cover(self, mask, colour, rows=slice(None), cols=slice(None)):
        part = self.px[:, rows, cols]
        part += np.float32(mask) * (_c(colour) - part)

    @contextmanager
    def ink(self):
        """A Pen for shapes with smooth edges: it draws at twice the size."""
        pen = Pen(_image(self.px).resize((2 * self.n, 2 * self.n), Image.NEAREST))
        yield pen
        self.px = np.float32(np.moveaxis(np.asarray(pen.image.reduce(2)), 2, 0)) / 255

    def sky(self):
        """Gradient, sun or moon with its glow, stars, clouds."""
        self.px[:] = _mix(self.top, self.low, _clip(self.y * self.u(1.2, 1.9)) ** 0.8)
        if not self.veiled:
            d2 = (self.x - self.sun_x) ** 2 + (self.y - self.sun_y) ** 2
            glow = 0.5 * np.exp(-d2 / (0.012 if self.dark > 0.9 else 0.05))
            self.cover(_clip(glow + _clip((self.u(-0.0012, 0.002) - d2) * 3000)), self.sun)
        if self.dark > 0.9:
            self.px += _clip(self.tex("fine") - 2.5, 0, 0.5)
        if self.veiled or self.u() < 0.65:
            puffs = self.tex(self.pick("soft", "soft", "wide"))
            amount = _clip((puffs - self.u(-0.8 if self.veiled else 0, 1.1)) * self.u(0.5, 1.5), 0, 0.85)
            lit = _clip(0.55 + 1.6 * (puffs - np.roll(puffs, -4, 0)))
            self.cover(amount, _mix(self.haze * 0.84, np.minimum(self.tint * 1.03, 1), lit))


def _image(px) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(np.uint8(_clip(px) * 255).transpose(1, 2, 0)))


class Pen:
    """Shapes in fractions of the image side, colours from 0 to 1."""

    def __init__(self, image: Image.Image):
        self.image, self.k, self.draw = image, image.width, ImageDraw.Draw(image)

    def rgb(self, c):
        return tuple(max(0, min(255, int(v * 255))) for v in np.asarray(c).tolist())

    def poly(self, points, c):
        self.draw.polygon([(x * self.k, y * self.k) for x, y in points], fill=self.rgb(c))

    def dot(self, x, y, rx, ry, c):
        k = self.k
        self.draw.ellipse((k * (x - rx), k * (y - ry), k * (x + rx), k * (y + ry)), fill=self.rgb(c))

    def box(self, x0, y0, x1, y1, c):
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], c)


# ---------------------------------------------------------------- land
def ridge(s: Scene, base: float, height: float, depth: float, snow: float, rock, knots=4):
    """A mountain range with lit and shaded faces; snow is how far it reaches down from the crest."""
    line = base - height * (0.5 + 0.5 * s.line(knots, 6, 0.48))
    s.crest = np.minimum(s.crest, line)
    r = slice(s.row(line.min()), None)
    soft, fine, d = s.tex("soft", r), s.tex("fine", r), s.y[r] - line
    slope = np.gradient(np.convolve(np.pad(line, 4, "edge"), np.full(9, 1 / 9), "valid")) * s.n
    at = (s.x + 0.12 * soft * _clip(d, 0, 0.15) + 0.012 * s.tex("tall", r) + d * s.u(-0.4, 0.4)) * s.n
    face = slope[_clip(at.astype(int), 0, s.n - 1)] * (1.5 if s.sun_x > 0.5 else -1.5)
    face = _clip(np.float32(face) + 0.5 + 0.12 * fine)
    ground = _mix(np.multiply(rock, 0.45), rock, _clip(face * 0.85 + 0.1 * fine + 0.08 * soft, 0, 1.1))
    if snow > 0:
        reach = min(snow, 0.7 * height) * (1 + 0.3 * soft + 0.25 * fine + 0.25 * s.tex("tall", r))
        white = _clip((reach - d + 0.05 * face) * 45)
        ground = _mix(ground, _mix(SNOW_SHADE, SNOW, face), white)
    far = _clip(s.air * (depth + _clip(d * 1.1, 0, 0.3)), 0, 0.93)
    s.cover(_clip(d * s.n + 0.5), _mix(ground * _c(s.tint), s.haze, far), r)


def hills(s: Scene, y: float, rgb, depth: float, relief=0.05, trees=0.0, patch="wide"):
    """Rolling ground down to the lower edge; trees is the height of a tree line along its top."""
    line = y - relief * s.line(2, 3)
    if trees:
        m = 2 * int(s.u(1.4, 2.2) / trees) + 17
        tips = np.where(np.arange(m) % 2, 0.4 + 0.6 * s.rng.random(m), 0.25 * s.rng.random(m))
        line = line - np.float32(trees * np.interp(s.x[0], np.sort(s.rng.random(m)) * 1.1 - 0.05, tips))
    r = slice(s.row(line.min()), None)
    d = s.y[r] - line
    colour = _c(s.tone(rgb, depth)) * (1 + 0.10 * s.tex(patch, r) + 0.06 * s.tex("fine", r))
    if trees:
        colour = _mix(colour, s.haze, _clip((d - trees) * s.air * 2.2, 0, 0.5))
    s.cover(_clip(d * s.n + 0.5), colour, r)


# ---------------------------------------------------------------- water and ice
def _level(s: Scene, t, across, stretch: float):
    """Streaks on a level ground: t from 0 (far) to 1 (near), across in image widths."""
    bank, (i, j) = _textures(s.n)["wide"], s.rng.integers(0, s.n, 2)
    rows = (i + s.n * stretch / (t * 1.6 + 0.22)).astype(int) % (2 * s.n)
    return bank[rows, (j + s.n * across * 0.55 / (t + 0.35)).astype(int) % (2 * s.n)]


def water(s: Scene, top: float, rgb, mirror: float, chop: float, glint=True):
    """Water from y = top down, mirroring what stands above; chop is the contrast of the waves."""
    r0 = s.row(top)
    m, t = s.n - r0, (s.y[r0:] - top) / (1 - top)
    wave = _level(s, t, s.x - 0.5, 0.55)
    image_rows = r0 - 1 - np.arange(m)[:, None] * r0 / max(m, r0) + wave * (2.5 * chop * (1 + 5 * t))
    mirrored = s.px[:, _clip(image_rows, 0, r0 - 1).astype(int), np.arange(s.n)[None, :]]
    colour = _mix(s.tone(rgb, 0.35), s.tone(np.multiply(rgb, 0.75)), t**0.6)
    colour = _mix(colour, mirrored, mirror * (1 - 0.5 * t)) * (1 + 0.16 * chop * wave)
    if glint and not s.veiled:
        lane = np.exp(-(((s.x - s.sun_x) / (0.05 + 0.16 * t)) ** 2))
        colour = _mix(colour, s.sun, _clip(lane * _clip(wave * 0.6 + 0.25), 0, 0.9))
    if chop > 0.8:
        colour = _mix(colour, s.tone(SNOW), _clip((wave - 1.6) * chop * 1.5, 0, 0.85))
    s.px[:, r0:] = colour


def ice_flow(s: Scene, top: float, foot: float, w0: float, w1: float, x0: float, x1: float):
    """A river of ice from (x0, top), half width w0, down to (x1, foot), half width w1, with crevasses and moraines."""
    r = slice(s.row(top), s.row(foot))
    v = _clip((s.y[r] - top) / (foot - top))
    soft, fine, bend = s.tex("soft", r), s.tex("fine", r), 0.05 * s.line(2, 4)[r, None]
    half = w0 + (w1 - w0) * v**1.4
    u = (s.x - (x0 + (x1 - x0) * v + s.u(-0.15, 0.15) * np.sin(np.pi * v) + bend)) / half
    rim = 1 + np.where(u < 0, s.line(5, 5, 0.7)[r, None], s.line(5, 5, 0.7)[r, None]) * 0.22 + 0.05 * soft
    wave = _level(s, _clip(v + s.u(-0.1, 0.1) * u * u + 0.03 * soft), u * half, s.u(0.6, 1.1))
    relief = 0.5 * (wave - np.roll(wave, 1, 0))
    ice = _mix((0.95, 0.97, 1.0), (0.52, 0.75, 0.90), _clip(0.3 + 0.22 * soft + 0.15 * wave + relief))
    ice = _mix(ice, s.pick((0.22, 0.50, 0.72), (0.28, 0.60, 0.76)), _clip((wave + 0.7 * fine - 0.9) * 0.9, 0, 0.75))
    silt = np.exp(-(((np.abs(u) - rim + 0.02) / 0.10) ** 2)) * 0.9
    if s.u() < 0.4:
        silt = silt + np.exp(-(((u - s.u(-0.5, 0.5) - 0.1 * soft) / 0.05) ** 2)) * 0.6
    ice = _mix(ice, (0.36, 0.34, 0.33), _clip(silt * (0.55 + 0.3 * fine), 0, 0.85))
    mask = _clip((rim - np.abs(u)) * half * s.n) * _clip((v - 0.04) * 14) * _clip((s.y[r] - s.crest - 0.05) * 25)
    s.cover(mask, _mix(ice * _c(s.tint), s.haze, _clip(s.air * 0.35 * (1 - v))), r)


def ice_cliff(s: Scene, foot: float, height: float):
    """The front of a glacier standing in water: columns of white and blue ice."""
    line = foot - height * (1 + 0.3 * s.line(5, 5, 0.7))
    r, count = slice(s.row(line.min()), s.row(foot)), int(s.u(12, 30))
    d = (s.y[r] - line) / height
    column = ((s.x * count + s.tex("soft", r)).astype(int) + 3) % count
    column = np.float32(s.rng.random(count) * 0.7 - 0.35)[column]
    blue = _clip(0.22 + column + 0.4 * d + 0.2 * s.tex("tall", r))
    s.cover(_clip(d * height * s.n), s.tone((0.95, 0.97, 1.0), 0.1)[:, None, None] * (1 - blue)
            + s.tone((0.26, 0.56, 0.78), 0.1)[:, None, None] * blue, r)


def iceberg(pen: Pen, s: Scene, x: float, y: float, w: float, depth=0.0):
    """A faceted block of ice floating at (x, y), w wide."""
    h, m = w * s.u(0.35, 0.9), int(s.u(3, 6))
    crest = [(x + a * w, y - h * s.u(0.5, 1)) for a in np.sort(s.rng.uniform(-0.42, 0.42, m))]
    outline = [(x - w / 2, y), (x - w * 0.46, y - h * 0.3), *crest, (x + w * 0.47, y - h * 0.25), (x + w / 2, y)]
    pen.poly(outline, s.tone((0.93, 0.97, 1.0), depth))
    for a, b in zip(outline[1:-1], outline[2:], strict=True):
        if (b[1] > a[1]) == (s.sun_x < x) or s.u() < 0.25:
            foot = [(b[0] * 0.6 + x * 0.4, y), (a[0] * 0.6 + x * 0.4, y)]
            pen.poly([a, b, *foot], s.tone((s.u(0.55, 0.7), 0.78, 0.91), depth))
    pen.poly([(x - w / 2, y), (x + w / 2, y), (x + w * 0.4, y + h * 0.1), (x - w * 0.4, y + h * 0.1)],
             s.tone((0.35, 0.62, 0.74), depth))


def boat(pen: Pen, s: Scene, x: float, y: float, h: float):
    """A sailing boat, h high."""
    hull = s.tone(s.pick((0.5, 0.2, 0.15), (0.2, 0.25, 0.4), (0.9, 0.9, 0.88)))
    pen.poly([(x - h * 0.35, y - h * 0.14), (x + h * 0.4, y - h * 0.14), (x + h * 0.25, y), (x - h * 0.25, y)], hull)
    sail = s.tone(s.pick((0.97, 0.96, 0.92), (0.97, 0.96, 0.92), (0.85, 0.35, 0.25), (0.9, 0.75, 0.4)))
    pen.poly([(x + h * 0.02, y - h), (x + h * 0.02, y - h * 0.2), (x + h * 0.36, y - h * 0.2)], sail)
    pen.poly([(x - h * 0.02, y - h * 0.9), (x - h * 0.02, y - h * 0.2), (x - h * 0.26, y - h * 0.2)], sail * 0.85)


def surf(s: Scene, y: float, thick: float):
    """A breaking wave across the picture: a dark back and a crest of foam."""
    line = y + s.u(-0.06, 0.06) * s.x[0] + 0.02 * s.line(2, 3) + 0.006 * s.line(9, 3)
    d = (s.y - line) / thick
    s.cover(_clip(1 + d * 0.5) * (d < 0) * 0.4, s.tone((0.05, 0.26, 0.36)))
    s.cover(_clip(d * 9) * _clip((1 - d + 0.5 * s.tex("fine")) * 1.3) * 0.92, s.tone(SNOW))


def beach(s: Scene, y: float):
    """Sand in front, wet at the edge, with a line of foam."""
    line = y + s.u(-0.3, 0.3) * (s.x[0] - 0.5) + 0.03 * s.line(2, 3)
    grain = 1 + 0.05 * s.tex("fine") + 0.04 * s.tex("wide")
    for offset, rgb in ((-0.03, SNOW), (-0.005, (0.55, 0.50, 0.42)), (0.06, (0.85, 0.75, 0.56))):
        edge = line + offset + 0.008 * s.line(8, 3)
        s.cover(_clip((s.y - edge) * s.n * (1 if offset < 0 else 0.2)), _c(s.tone(rgb)) * grain)


def headland(s: Scene, horizon: float):
    """A rocky cliff reaching in from one side."""
    x, reach = (s.x[0] if s.u() < 0.5 else 1 - s.x[0]), s.u(0.25, 0.6)
    foot, rock = s.u(horizon + 0.03, 0.85), np.array(s.pick(*ROCKS, (0.45, 0.5, 0.3)))
    inland = (reach - x + 0.06 * s.line(5, 4)) / reach
    top = np.where(inland > 0, foot - s.u(0.15, 0.5) * _clip(inland * s.u(1.2, 4)) ** 0.6, 2) - 0.02 * s.line(7, 4)
    face = _clip(0.55 + 0.25 * s.tex("tall") + 0.2 * s.tex("soft"))
    mask = _clip((s.y - top) * s.n) * _clip((foot + 0.02 * s.line(6, 4) - s.y) * s.n)
    s.cover(mask, _mix(s.tone(rock * 0.4), s.tone(rock * 1.1), face))


# ---------------------------------------------------------------- trees
def conifer(pen: Pen, s: Scene, x: float, y: float, h: float, rgb, depth=0.0, snowy=False):
    """A spruce standing at (x, y), h high."""
    w, tiers, sides = h * s.u(0.17, 0.24), int(s.u(5, 9)), ([(x, y - h)], [(x, y - h)])
    pen.box(x - h * 0.018, y - h * 0.15, x + h * 0.018, y, s.tone((0.30, 0.22, 0.17), depth))
    for k in range(1, tiers + 1):
        t, low = k / tiers, y - h * (1 - 0.92 * k / tiers)
        for side, sign in zip(sides, (-w, w), strict=True):
            side.append((x + sign * t**0.85 * s.u(0.85, 1.1), low + s.u(-0.01, 0.015) * h))
            side.append((x + sign * t**0.85 * 0.5, low - h * 0.03))
    pen.poly(sides[0] + sides[1][::-1], s.tone(np.multiply(rgb, 0.62), depth))
    lit = (0.80, 0.85, 0.92) if snowy else rgb
    pen.poly([*sides[int(s.sun_x > x)], (x, y - h * 0.1)], s.tone(lit, depth))


def conifers(s: Scene, y0: float, y1: float, count: int, h: float, snowy=False):
    """A stand of spruces between y0 (far, small) and y1 (near, large)."""
    rgb = s.pick(*NEEDLES)
    with s.ink() as pen:
        for t in np.sort(s.rng.random(count)):
            tall, green = h * (0.5 + 0.7 * t) * s.u(0.8, 1.2), np.multiply(rgb, s.u(0.8, 1.3))
            conifer(pen, s, s.u(-0.05, 1.05), y0 + (y1 - y0) * t, tall, green, 0.35 * (1 - t), snowy)


def crown(pen: Pen, s: Scene, x: float, y: float, r: float, rgb, depth=0.0, blobs=34):
    """Leaves in blobs around (x, y), brighter towards the sun."""
    side = (0.35 if s.sun_x > x else -0.35) * r
    for t, a, b, c, d in np.column_stack((np.arange(blobs) / blobs, s.rng.random((blobs, 4)))).tolist():
        angle, far, size = 6.28 * a, r * (0.1 + 0.8 * b) * (1 - 0.45 * t), r * (0.13 + 0.2 * c) * (1 - 0.45 * t)
        leaf = s.tone(np.multiply(rgb, 0.5 + 0.65 * t + 0.16 * d), depth)
        pen.dot(x + np.cos(angle) * far + side * t, y + np.sin(angle) * far - 0.35 * r * t, size, size * 0.85, leaf)


def broadleaf(pen: Pen, s: Scene, x: float, y: float, h: float, rgb, depth=0.0, blobs=34):
    """A round tree standing at (x, y), h high."""
    trunk = [(x - h * 0.035, y), (x - h * 0.018, y - h * 0.6), (x + h * 0.018, y - h * 0.6), (x + h * 0.035, y)]
    pen.poly(trunk, s.tone((0.32, 0.24, 0.18), depth))
    crown(pen, s, x, y - h * 0.66, h * s.u(0.26, 0.34), rgb, depth, blobs)


def inside_forest(s: Scene):
    """Among the trunks: light from the back, ground with or without a path, leaves above."""
    leaf = np.array(s.pick(*LEAVES))
    bark = np.array(s.pick((0.34, 0.26, 0.20), (0.45, 0.36, 0.28), (0.28, 0.25, 0.24), (0.72, 0.70, 0.66)))
    floor, gx = s.u(0.5, 0.7), s.u(0.25, 0.75)
    glow = np.exp(-(((s.x - gx) / 0.35) ** 2) - ((s.y - floor + 0.12) / 0.3) ** 2)
    bright = _clip(glow + 0.16 * s.tex("tall") + 0.12 * s.tex("fine"))
    s.cover(0.93, _mix(s.tone(leaf * 0.75, 0.15), s.tone(leaf * 0.6 + 0.42, 0.35), bright))
    hills(s, floor, leaf * 0.7 + np.array((0.10, 0.06, 0.02)), 0.12, 0.04)
    if s.u() < 0.5:
        t = _clip((s.y - floor) / (1 - floor))
        off = 0.02 + 0.22 * t**1.3 - np.abs(s.x - gx - 0.12 * np.sin(t * s.u(2, 5)) * t)
        s.cover(_clip(off * 25, 0, 0.9) * (t > 0.02), _c(s.tone((0.62, 0.52, 0.38))) * (1 + 0.08 * s.tex("wide")))
    with s.ink() as pen:
        for t in np.sort(s.rng.random(int(s.u(14, 28)))).tolist():
            x, w, y = s.u(), 0.008 + 0.055 * t**2 * s.u(0.6, 1.4), floor + 0.02 + (1.02 - floor) * t**1.5
            top, depth = x + s.u(-0.04, 0.04), 0.65 * (1 - t)
            a, b = (0.1, 0.5) if gx > x else (-0.5, -0.1)
            for left, right, shade in ((-0.5, 0.5, 0.6), (a, b, 1.15)):
                foot = [(x + w * right * 1.5, y), (x + w * left * 1.5, y)]
                pen.poly([(top + w * left, -0.02), (top + w * right, -0.02), *foot], s.tone(bark * shade, depth))
            if t > 0.25:
                crown(pen, s, x + s.u(-0.1, 0.1), y, 0.05 + 0.05 * t, leaf * s.u(0.6, 1.1), depth, 6)
        for _ in range(int(s.u(4, 9))):
            crown(pen, s, s.u(), s.u(-0.06, 0.12), s.u(0.1, 0.2), leaf * s.u(0.6, 1.1), s.u(0, 0.3), 14)


# ---------------------------------------------------------------- buildings
def facade(s: Scene, mask, u, v, wall, style="grid", depth=0.0, rows=slice(None), cols=slice(None), k=6.0):
    """A wall with windows: u and v count windows across and floors down; wall may have a colour for each pixel."""
    iu, iv = np.floor(u), np.floor(v)
    fu, fv = u - iu, v - iv
    chance = np.float32(s.rng.random((32, 32)))[iv.astype(int) & 31, iu.astype(int) & 31]
    across = 1.0 if style == "bands" else _clip((0.28 - np.abs(fu - 0.5)) * k + 0.5)
    down = _clip((0.3 - np.abs(fv - 0.5)) * k + 0.5) if style != "columns" else 0.75
    glass = _mix(s.tone((0.14, 0.18, 0.24)), 0.55 * s.low + 0.25 * s.top, chance * 0.8)
    if s.dark:
        glass = _mix(glass, (0.98, 0.80, 0.46), (chance < 0.55 * s.dark) * (0.8 + 0.3 * chance))
    shade = (1 + 0.05 * s.tex("fine", rows, cols) + 0.04 * s.tex("soft", rows, cols)) * (1 - 0.15 * (fv < 0.1))
    colour = _mix(_c(wall) * _c(s.tint) * shade, glass, across * down)
    s.cover(mask, _mix(colour, s.haze, _clip(depth * s.air, 0, 0.9)), rows, cols)


def block(s: Scene, x0: float, x1: float, top: float, foot: float, depth: float, wall, floor=0.06, style="grid"):
    """One house seen from the front; far ones are plain."""
    r, c = slice(s.row(top), s.row(foot)), slice(s.row(x0), s.row(x1))
    if c.stop - c.start < 3 or r.stop - r.start < 3:
        return
    across = (s.x[:, c] - c.start / s.n) / (c.stop - c.start) * s.n
    light = 1 - 0.2 * (across if s.sun_x < 0.5 else 1 - across)
    if depth > 0.45:
        s.px[:, r, c] = _c(s.tone(wall, depth)) * light
        return
    u = across * max(2, round((x1 - x0) / (floor * s.u(0.6, 1.0))))
    v = (s.y[r] - r.start / s.n) / floor
    facade(s, 1.0, u + 0 * v, v + 0 * u, _c(wall) * light, style, depth, r, c)


def skyline(s: Scene, foot: float, low: float, high: float, depth: float, width=0.14):
    """A row of towers standing at y = foot."""
    x = -s.u(0, 0.1)
    while x < 1:
        w, h, wall = width * s.u(0.6, 1.4), s.u(low, high), np.array(s.pick(*WALLS)) * s.u(0.75, 1.0)
        if s.u() < 0.3 and h > 0.2:
            block(s, x + w * 0.25, x + w * 0.75, foot - h * s.u(1.08, 1.25), foot - h, max(depth, 0.5), wall * 0.7)
        block(s, x, x + w, foot - h, foot, depth, wall, s.u(0.035, 0.07), s.pick("grid", "grid", "bands", "columns"))
        x += w + (s.u(0, 0.05) if s.u() < 0.3 else 0)


def terrace(s: Scene, foot: float, height: float):
    """A row of town houses with roofs and doors standing at y = foot."""
    x, houses, flat = -s.u(0, 0.15), [], s.u() < 0.3
    roof = np.array(s.pick((0.55, 0.28, 0.22), (0.38, 0.36, 0.38), (0.48, 0.34, 0.26)))
    while x < 1:
        w, h, wall = s.u(0.16, 0.34), height * s.u(0.8, 1.15), np.array(s.pick(*WALLS)) * s.u(0.85, 1.05)
        block(s, x, x + w, foot - h, foot, 0, wall, h / int(s.u(3, 6)))
        houses.append((x, w, h, wall))
        x += w
    with s.ink() as pen:
        for x, w, h, wall in houses:
            top, rise, inset = foot - h, w * s.u(0.2, 0.5), s.pick(0.5, 0.14, 0.2)
            if flat:
                pen.box(x - 0.006, top - 0.02, x + w + 0.006, top, s.tone(wall * 0.75))
            else:
                gable = [(x + w * inset, top - rise), (x + w * (1 - inset), top - rise)]
                pen.poly([(x - 0.01, top), *gable, (x + w + 0.01, top)], s.tone(roof * s.u(0.8, 1.2)))
                pen.box(x + w * 0.7, top - rise * 1.1, x + w * 0.78, top - rise * 0.5, s.tone(wall * 0.6))
            door = x + w * s.u(0.2, 0.7)
            pen.box(door, foot - h * 0.17, door + 0.035, foot, s.tone(np.array(s.pick(*WALLS)) * 0.45))


def corner_house(s: Scene, xc: float, eye: float, height: float, wide: float):
    """A large house seen at its corner xc: two walls running away from it, eye level at y = eye."""
    wall, floor, style = np.array(s.pick(*WALLS)), s.u(0.06, 0.12), s.pick("grid", "grid", "bands", "columns")
    for sign in (-1, 1):
        c = slice(s.row(xc - wide), s.row(xc)) if sign < 0 else slice(s.row(xc), s.row(xc + wide))
        if c.stop - c.start < 3:
            continue
        away = sign * (s.x[:, c] - xc)
        zoom = 1 / np.maximum(1 - s.u(0.3, 1.0) * away, 0.2)
        v = (s.y - eye) * zoom
        mask = _clip((v + height) * s.n) * _clip((0.12 - v) * s.n)
        shade = 1.0 if (sign < 0) == (s.sun_x < 0.5) else 0.66
        facade(s, mask, away * zoom / floor + 0 * v, v / floor + 50, wall * shade, style, cols=c)


def low_angle(s: Scene, count: int):
    """Towers seen from their feet: the upright lines run together above the picture."""
    vx, vy = s.u(0.3, 0.7), s.u(-0.9, -0.35)
    z = 1 / (s.y - vy)
    across = (s.x - vx) * z * (1 - vy)
    for k in s.rng.permutation(count).tolist():
        mid, half, cell = (k + s.u(0.2, 0.8)) / count * 2.2 - 1.1, s.u(0.6, 1.1) / count, s.u(0.06, 0.11)
        a = across - mid - half * s.u(-0.5, 0.5)
        near = np.flatnonzero((np.abs(across - mid) < half).any(0))
        if not len(near):
            continue
        c = slice(near[0], near[-1] + 1)
        a, top = a[:, c], s.u(-0.1, 0.35)
        mask = _clip((half - np.abs(across[:, c] - mid)) * s.n * 0.7) * _clip((s.y - top - 0.15 * np.abs(a)) * s.n)
        wall = _c(s.pick(*WALLS)) * np.where((a < 0) == (s.sun_x < 0.5), np.float32(1), np.float32(0.68))
        style = s.pick("grid", "grid", "bands", "columns")
        facade(s, mask, a / cell, z * s.u(9, 16) + 0.15 * np.abs(a) / cell, wall, style, cols=c)


# ---------------------------------------------------------------- streets
def car(pen: Pen, s: Scene, x: float, y: float, w: float, side=False):
    """A car standing on the road at (x, y), w wide, seen from behind or from the side."""
    paint, h = np.array(s.pick(*PAINTS)), w * (0.34 if side else 0.8)
    wheels, roof, wheel_h = ((-0.28, 0.28), 0.7, h * 0.26) if side else ((-0.36, 0.36), 1.0, h * 0.2)
    pen.dot(x, y, w * 0.54, w * 0.05, s.tone((0.1, 0.1, 0.11)))
    for t in wheels:
        pen.dot(x + w * t, y - wheel_h * 0.4, w * 0.09, wheel_h * 0.6, s.tone((0.08, 0.08, 0.08)))
    for k, rgb in ((1.0, paint * 0.85), (0.82, (0.32, 0.41, 0.48))):
        half, lid = w * 0.46 * k * roof**0.3, w * 0.34 * k * roof
        pen.poly([(x - half, y - h * 0.55), (x - lid, y - h * (0.3 + 0.7 * k**0.3)),
                  (x + lid, y - h * (0.3 + 0.7 * k**0.3)), (x + half, y - h * 0.55)], s.tone(rgb))
    pen.box(x - w * 0.5, y - h * 0.58, x + w * 0.5, y - h * 0.16, s.tone(paint))
    for t in (-0.45, 0.45):
        light = (1, 0.9, 0.6) if side else (1, 0.25, 0.15)
        light = light if s.dark > 0.4 else s.tone(light)
        pen.box(x + w * (t - 0.05), y - h * 0.48, x + w * (t + 0.05), y - h * 0.36, light)


def lamp(pen: Pen, s: Scene, x: float, y: float, h: float, side: int):
    """A street lamp standing at (x, y) with its arm to the side (-1 or 1)."""
    pole, w = s.tone((0.2, 0.21, 0.22)), max(h * 0.014, 0.002)
    pen.box(x - w, y - h, x + w, y, pole)
    pen.box(x, y - h * 1.02, x + side * h * 0.24, y - h * 0.99, pole)
    pen.dot(x + side * h * 0.24, y - h, h * 0.06, h * 0.035, (1, 0.9, 0.6) if s.dark > 0.4 else s.tone((0.9,) * 3))


def walker(pen: Pen, s: Scene, x: float, y: float, h: float):
    """A person on foot at (x, y)."""
    pen.poly([(x - h * 0.1, y), (x, y - h * 0.5), (x + h * 0.12, y)], s.tone((0.16, 0.17, 0.22)))
    pen.dot(x, y - h * 0.62, h * 0.13, h * 0.24, s.tone(np.array(s.pick(*WALLS)) * s.u(0.4, 0.9)))
    pen.dot(x, y - h * 0.92, h * 0.08, h * 0.09, s.tone((0.75, 0.55, 0.45)))


def cross_road(s: Scene, foot: float):
    """Pavement and a road running across, in front of houses standing at y = foot."""
    kerb = foot + 0.18 * (1 - foot)
    for top, rgb in ((foot, PAVEMENT), (kerb, ASPHALT)):
        r = slice(s.row(top), None)
        s.px[:, r] = _c(s.tone(rgb)) * (1 + 0.06 * s.tex("wide", r) + 0.05 * s.tex("fine", r))
    mid = (kerb + 1) / 2 + 0.02
    r = slice(s.row(mid), s.row(mid + 0.016))
    s.cover(0.8 * ((s.x * s.u(4, 8)) % 1 < 0.55), s.tone((0.92, 0.9, 0.84)), r)


def avenue(s: Scene, road: float, wall_x: float, vx: float, vy: float, eye: float, tall: float):
    """A street to its vanishing point (vx, vy): road and wall_x are half widths, eye the height above the road."""
    middle = s.row(vx)
    for sign, c in ((-1, slice(0, middle)), (1, slice(middle, s.n))):
        z = wall_x / np.maximum(sign * (s.x[:, c] - vx), 0.012)
        house = np.searchsorted(np.cumsum(s.rng.uniform(0.25, 0.9, 30)) + 0.2, np.minimum(z[0], 12))
        heights, floors = (np.float32(s.rng.uniform(low, high, 31))[house] for low, high in ((0.55, 1.3), (0.16, 0.26)))
        paint = np.float32(WALLS)[s.rng.integers(0, len(WALLS), 31)[house]].T[:, None, :]
        v = (s.y - vy) * z
        mask = _clip((v + heights * tall) * s.n / z) * _clip((eye - v) * s.n / z)
        light = 0.7 if (sign < 0) == (s.sun_x < 0.5) else 1.05
        facade(s, mask, z * s.u(5, 8) + 0 * v, v / floors + 40, paint * np.float32(light), "grid", (z - 1) / 9, cols=c)
    r = slice(s.row(vy), None)
    z = eye / np.maximum(s.y[r] - vy, 0.004)
    a = (s.x - vx) * z
    off = np.abs(a)
    ground = _mix(ASPHALT, PAVEMENT, _clip((off - road) * 40)) * (1 + 0.06 * s.tex("fine", r) + 0.05 * s.tex("soft", r))
    marks = (off < 0.018) * (z * s.u(1.5, 3) % 1 < 0.5) + _clip(1 - np.abs(off - road * 0.945) * 60)
    if s.u() < 0.4:
        near = s.u(0.35, 0.8)
        marks = marks + (z > near) * (z < near * 1.35) * (a * s.u(7, 10) % 1 < 0.5) * (off < road * 0.95)
    ground = _mix(ground, (0.93, 0.91, 0.86), _clip(marks, 0, 0.85))
    shadow = _clip((a * (1 if s.sun_x > 0.5 else -1) - s.u(-0.1, 0.4)) * 9) * (0.35 if s.dark < 0.5 else 0)
    ground = ground * _c(s.tint) * (1 - np.float32(shadow))
    s.cover(_clip((wall_x - off) * s.n / z), _mix(ground, s.haze, _clip(z / 14 * s.air, 0, 0.8)), r)


def furnish(s: Scene, road: float, wall_x: float, vx: float, vy: float, eye: float):
    """Cars, lamps or trees, and people along an avenue, far ones first."""
    green, step, side, leaf = s.u() < 0.35, s.u(0.35, 0.7), s.pick(-1, 1), s.pick(*LEAVES)
    things = [("car", s.u(0.5, 3.5)) for _ in range(int(s.u(0, 6)))] + [("post", 0.5 + step * k) for k in range(7)]
    things += [("walker", s.u(0.5, 3)) for _ in range(int(s.u(0, 6)))]
    with s.ink() as pen:
        for kind, z in sorted(things, key=lambda thing: -thing[1]):
            y, way = vy + eye / z, s.pick(-1, 1)
            if kind == "car":
                car(pen, s, vx + way * road * s.pick(0.42, 0.78) / z, y, 0.42 * road / z)
            elif kind == "walker":
                walker(pen, s, vx + way * (road + (wall_x - road) * s.u(0.2, 0.8)) / z, y, eye * 0.9 / z)
            elif green:
                for sign in (side, -side):
                    broadleaf(pen, s, vx + sign * (road + 0.03) / z, y, eye * 2 / z, leaf, min(z / 12, 0.6), 12)
            else:
                lamp(pen, s, vx + side * (road + 0.02) / z, y, eye * 2.6 / z, -side)


# ---------------------------------------------------------------- the six classes
def draw_mountain(s: Scene, edge: bool):
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


def draw_glacier(s: Scene, edge: bool):
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


def draw_sea(s: Scene, edge: bool):
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


def draw_forest(s: Scene, edge: bool):
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


def draw_buildings(s: Scene, edge: bool):
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


def draw_street(s: Scene, edge: bool):
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


# ---------------------------------------------------------------- weather, camera, one image
def weather(s: Scene):
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


# ---------------------------------------------------------------- the whole set
def write_demo_set(folder, *, n_images: int = 1200, seed: int = 0, progress: Callable | None = None) -> Path:
    """Write n_images JPEG files (150 by 150) into class folders below `folder`; return the folder.

    The classes get equal shares, the first ones one more where it does not divide. A folder that already holds these
    counts is left as it is. `progress` is called with (done, total) every 100 images.
    ValueError if n_images is outside 60 to 17,034; FileExistsError if `folder` holds anything but such a set.
    """
    if not N_MIN <= n_images <= N_MAX:
        raise ValueError(f"n_images must be between {N_MIN} and {N_MAX}, not {n_images}")
    folder = Path(folder)
    counts = {label: n_images // 6 + (k < n_images % 6) for k, label in enumerate(CLASSES)}
    if all(len(list((folder / label).glob("*.jpg"))) == count for label, count in counts.items()):
        return folder
    if folder.exists() and any(p.is_file() and p.suffix != ".jpg" or p.is_dir() and p.name not in CLASSES
                               for p in folder.rglob("*")):
        raise FileExistsError(f"{folder} holds other files: choose an empty or a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft, done = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)), 0
    try:
        for label, count in counts.items():
            (draft / label).mkdir()
            for index in range(1, count + 1):
                draw_scene(label, seed=seed, index=index).save(draft / label / f"{index:05d}.jpg", quality=90)
                done += 1
                if progress and (done % 100 == 0 or done == n_images):
                    progress(done, n_images)
        if folder.exists():
            shutil.rmtree(folder)
        draft.chmod(0o755)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def main() -> None:
    """Command line: python demo_scenes.py FOLDER --images 1200 --seed 0."""
    parser = argparse.ArgumentParser(description="Draw a set of outdoor scenes in six classes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1200, help=f"{N_MIN} to {N_MAX} (default 1200)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(write_demo_set(args.folder, n_images=args.images, seed=args.seed, progress=lambda k, n: print(k, "of", n)))


if __name__ == "__main__":
    main()
