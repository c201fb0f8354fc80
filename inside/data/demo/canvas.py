"""The canvas that scenes are drawn on: light, colours, textures, brushes.

Coordinates are fractions of the image side, x to the right and y down; colours are RGB from 0 to 1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

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


def _c(colour: ArrayLike) -> np.ndarray:
    """A colour or a picture as float32 with the three channels first."""
    colour = np.asarray(colour, np.float32)
    return colour[:, None, None] if colour.ndim == 1 else colour


def _mix(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> np.ndarray:
    """From a (t = 0) to b (t = 1)."""
    a = _c(a)
    return a + np.asarray(t, np.float32) * (_c(b) - a)


def _clip(t: ArrayLike, low: ArrayLike = 0.0, high: ArrayLike = 1.0) -> np.ndarray:
    return np.minimum(np.maximum(t, low), high)


class Scene:
    """One picture in the making: px is (3, size, size) float32; starts as a sky."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
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

    def u(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * self.rng.random()

    def pick(self, *items: Any) -> Any:
        return items[int(self.rng.random() * len(items))]

    def tone(self, rgb: ArrayLike, depth: float = 0.0) -> np.ndarray:
        """The colour under this light, seen through depth (0 to 1) of hazy air."""
        lit = np.asarray(rgb, np.float32) * self.tint
        return lit + np.float32(min(depth * self.air, 0.95)) * (self.haze - lit)

    def tex(self, name: str, rows: slice = slice(None), cols: slice = slice(None)) -> np.ndarray:
        i, j = (self.rng.random(2) * self.n).astype(int)
        return _textures(self.n)[name][i:i + self.n, j:j + self.n][rows, cols]

    def line(self, knots: int = 4, octaves: int = 5, rough: float = 0.5) -> np.ndarray:
        """A fractal line over the width of the picture, about -1 to 1: (size,)."""
        out = np.zeros(self.n)
        for k in range(octaves):
            m = knots * 2**k + 1
            out += np.interp(self.x[0], np.arange(m) * 1.2 / (m - 1) - 0.1, self.rng.random(m) * 2 - 1) * rough**k
        return (out / (1 + rough)).astype(np.float32)

    def row(self, y: float) -> int:
        return int(min(max(round(float(y) * self.n), 0), self.n))

    def cover(self, mask: ArrayLike, colour: ArrayLike, rows: slice = slice(None), cols: slice = slice(None)) -> None:
        part = self.px[:, rows, cols]
        part += np.asarray(mask, np.float32) * (_c(colour) - part)

    @contextmanager
    def ink(self) -> Iterator[Pen]:
        """A Pen for shapes with smooth edges: it draws at twice the size."""
        pen = Pen(_image(self.px).resize((2 * self.n, 2 * self.n), Image.NEAREST))
        yield pen
        self.px[:] = np.moveaxis(np.asarray(pen.image.reduce(2)), 2, 0).astype(np.float32) / 255

    def sky(self) -> None:
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


def _image(px: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray((_clip(px) * 255).astype(np.uint8).transpose(1, 2, 0)))


class Pen:
    """Shapes in fractions of the image side, colours from 0 to 1."""

    def __init__(self, image: Image.Image) -> None:
        self.image, self.k, self.draw = image, image.width, ImageDraw.Draw(image)

    def rgb(self, c: ArrayLike) -> tuple[int, ...]:
        return tuple(max(0, min(255, int(v * 255))) for v in np.asarray(c).tolist())

    def poly(self, points: Sequence, c: ArrayLike) -> None:
        self.draw.polygon([(x * self.k, y * self.k) for x, y in points], fill=self.rgb(c))

    def dot(self, x: float, y: float, rx: float, ry: float, c: ArrayLike) -> None:
        k = self.k
        self.draw.ellipse((k * (x - rx), k * (y - ry), k * (x + rx), k * (y + ry)), fill=self.rgb(c))

    def box(self, x0: float, y0: float, x1: float, y1: float, c: ArrayLike) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], c)
