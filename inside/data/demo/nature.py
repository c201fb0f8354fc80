"""Parts of scenes without people: ridges, water, ice, trees."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from inside.data.demo.canvas import LEAVES, NEEDLES, ROCKS, SNOW, SNOW_SHADE, Pen, Scene, _c, _clip, _mix, _textures


def ridge(s: Scene, base: float, height: float, depth: float, snow: float, rock: ArrayLike, knots: int = 4) -> None:
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


def hills(s: Scene, y: float, rgb: ArrayLike, depth: float,
          relief: float = 0.05, trees: float = 0.0, patch: str = "wide") -> None:
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


def _level(s: Scene, t: np.ndarray, across: np.ndarray, stretch: float) -> np.ndarray:
    """Streaks on a level ground: t from 0 (far) to 1 (near), across in image widths."""
    bank, (i, j) = _textures(s.n)["wide"], s.rng.integers(0, s.n, 2)
    rows = (i + s.n * stretch / (t * 1.6 + 0.22)).astype(int) % (2 * s.n)
    return bank[rows, (j + s.n * across * 0.55 / (t + 0.35)).astype(int) % (2 * s.n)]


def water(s: Scene, top: float, rgb: ArrayLike, mirror: float, chop: float, glint: bool = True) -> None:
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


def ice_flow(s: Scene, top: float, foot: float, w0: float, w1: float, x0: float, x1: float) -> None:
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


def ice_cliff(s: Scene, foot: float, height: float) -> None:
    """The front of a glacier standing in water: columns of white and blue ice."""
    line = foot - height * (1 + 0.3 * s.line(5, 5, 0.7))
    r, count = slice(s.row(line.min()), s.row(foot)), int(s.u(12, 30))
    d = (s.y[r] - line) / height
    column = ((s.x * count + s.tex("soft", r)).astype(int) + 3) % count
    column = (s.rng.random(count) * 0.7 - 0.35).astype(np.float32)[column]
    blue = _clip(0.22 + column + 0.4 * d + 0.2 * s.tex("tall", r))
    s.cover(_clip(d * height * s.n), s.tone((0.95, 0.97, 1.0), 0.1)[:, None, None] * (1 - blue)
            + s.tone((0.26, 0.56, 0.78), 0.1)[:, None, None] * blue, r)


def iceberg(pen: Pen, s: Scene, x: float, y: float, w: float, depth: float = 0.0) -> None:
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


def boat(pen: Pen, s: Scene, x: float, y: float, h: float) -> None:
    """A sailing boat, h high."""
    hull = s.tone(s.pick((0.5, 0.2, 0.15), (0.2, 0.25, 0.4), (0.9, 0.9, 0.88)))
    pen.poly([(x - h * 0.35, y - h * 0.14), (x + h * 0.4, y - h * 0.14), (x + h * 0.25, y), (x - h * 0.25, y)], hull)
    sail = s.tone(s.pick((0.97, 0.96, 0.92), (0.97, 0.96, 0.92), (0.85, 0.35, 0.25), (0.9, 0.75, 0.4)))
    pen.poly([(x + h * 0.02, y - h), (x + h * 0.02, y - h * 0.2), (x + h * 0.36, y - h * 0.2)], sail)
    pen.poly([(x - h * 0.02, y - h * 0.9), (x - h * 0.02, y - h * 0.2), (x - h * 0.26, y - h * 0.2)], sail * 0.85)


def surf(s: Scene, y: float, thick: float) -> None:
    """A breaking wave across the picture: a dark back and a crest of foam."""
    line = y + s.u(-0.06, 0.06) * s.x[0] + 0.02 * s.line(2, 3) + 0.006 * s.line(9, 3)
    d = (s.y - line) / thick
    s.cover(_clip(1 + d * 0.5) * (d < 0) * 0.4, s.tone((0.05, 0.26, 0.36)))
    s.cover(_clip(d * 9) * _clip((1 - d + 0.5 * s.tex("fine")) * 1.3) * 0.92, s.tone(SNOW))


def beach(s: Scene, y: float) -> None:
    """Sand in front, wet at the edge, with a line of foam."""
    line = y + s.u(-0.3, 0.3) * (s.x[0] - 0.5) + 0.03 * s.line(2, 3)
    grain = 1 + 0.05 * s.tex("fine") + 0.04 * s.tex("wide")
    for offset, rgb in ((-0.03, SNOW), (-0.005, (0.55, 0.50, 0.42)), (0.06, (0.85, 0.75, 0.56))):
        edge = line + offset + 0.008 * s.line(8, 3)
        s.cover(_clip((s.y - edge) * s.n * (1 if offset < 0 else 0.2)), _c(s.tone(rgb)) * grain)


def headland(s: Scene, horizon: float) -> None:
    """A rocky cliff reaching in from one side."""
    x, reach = (s.x[0] if s.u() < 0.5 else 1 - s.x[0]), s.u(0.25, 0.6)
    foot, rock = s.u(horizon + 0.03, 0.85), np.array(s.pick(*ROCKS, (0.45, 0.5, 0.3)))
    inland = (reach - x + 0.06 * s.line(5, 4)) / reach
    top = np.where(inland > 0, foot - s.u(0.15, 0.5) * _clip(inland * s.u(1.2, 4)) ** 0.6, 2) - 0.02 * s.line(7, 4)
    face = _clip(0.55 + 0.25 * s.tex("tall") + 0.2 * s.tex("soft"))
    mask = _clip((s.y - top) * s.n) * _clip((foot + 0.02 * s.line(6, 4) - s.y) * s.n)
    s.cover(mask, _mix(s.tone(rock * 0.4), s.tone(rock * 1.1), face))


def conifer(pen: Pen, s: Scene, x: float, y: float, h: float, rgb: ArrayLike,
            depth: float = 0.0, snowy: bool = False) -> None:
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


def conifers(s: Scene, y0: float, y1: float, count: int, h: float, snowy: bool = False) -> None:
    """A stand of spruces between y0 (far, small) and y1 (near, large)."""
    rgb = s.pick(*NEEDLES)
    with s.ink() as pen:
        for t in np.sort(s.rng.random(count)):
            tall, green = h * (0.5 + 0.7 * t) * s.u(0.8, 1.2), np.multiply(rgb, s.u(0.8, 1.3))
            conifer(pen, s, s.u(-0.05, 1.05), y0 + (y1 - y0) * t, tall, green, 0.35 * (1 - t), snowy)


def crown(pen: Pen, s: Scene, x: float, y: float, r: float, rgb: ArrayLike, depth: float = 0.0, blobs: int = 34) -> None:
    """Leaves in blobs around (x, y), brighter towards the sun."""
    side = (0.35 if s.sun_x > x else -0.35) * r
    for t, a, b, c, d in np.column_stack((np.arange(blobs) / blobs, s.rng.random((blobs, 4)))).tolist():
        angle, far, size = 6.28 * a, r * (0.1 + 0.8 * b) * (1 - 0.45 * t), r * (0.13 + 0.2 * c) * (1 - 0.45 * t)
        leaf = s.tone(np.multiply(rgb, 0.5 + 0.65 * t + 0.16 * d), depth)
        pen.dot(x + np.cos(angle) * far + side * t, y + np.sin(angle) * far - 0.35 * r * t, size, size * 0.85, leaf)


def broadleaf(pen: Pen, s: Scene, x: float, y: float, h: float, rgb: ArrayLike, depth: float = 0.0, blobs: int = 34) -> None:
    """A round tree standing at (x, y), h high."""
    trunk = [(x - h * 0.035, y), (x - h * 0.018, y - h * 0.6), (x + h * 0.018, y - h * 0.6), (x + h * 0.035, y)]
    pen.poly(trunk, s.tone((0.32, 0.24, 0.18), depth))
    crown(pen, s, x, y - h * 0.66, h * s.u(0.26, 0.34), rgb, depth, blobs)


def inside_forest(s: Scene) -> None:
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
