"""Parts of scenes that people made: facades, houses, cars, roads."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from inside.data.demo.canvas import ASPHALT, LEAVES, PAINTS, PAVEMENT, WALLS, Pen, Scene, _c, _clip, _mix
from inside.data.demo.nature import broadleaf


def facade(s: Scene, mask: ArrayLike, u: np.ndarray, v: np.ndarray | float, wall: ArrayLike,
           style: str = "grid", depth: np.ndarray | float = 0.0, rows: slice = slice(None), cols: slice = slice(None),
           k: np.ndarray | float = 6.0) -> None:
    """A wall with windows: u and v count windows across and floors down; wall may have a colour for each pixel."""
    iu, iv = np.floor(u), np.floor(v)
    fu, fv = u - iu, v - iv
    chance = s.rng.random((32, 32)).astype(np.float32)[iv.astype(int) & 31, iu.astype(int) & 31]
    across = 1.0 if style == "bands" else _clip((0.28 - np.abs(fu - 0.5)) * k + 0.5)
    down = _clip((0.3 - np.abs(fv - 0.5)) * k + 0.5) if style != "columns" else 0.75
    glass = _mix(s.tone((0.14, 0.18, 0.24)), 0.55 * s.low + 0.25 * s.top, chance * 0.8)
    if s.dark:
        glass = _mix(glass, (0.98, 0.80, 0.46), (chance < 0.55 * s.dark) * (0.8 + 0.3 * chance))
    shade = (1 + 0.05 * s.tex("fine", rows, cols) + 0.04 * s.tex("soft", rows, cols)) * (1 - 0.15 * (fv < 0.1))
    colour = _mix(_c(wall) * _c(s.tint) * shade, glass, across * down)
    s.cover(mask, _mix(colour, s.haze, _clip(depth * s.air, 0, 0.9)), rows, cols)


def block(s: Scene, x0: float, x1: float, top: float, foot: float, depth: float, wall: ArrayLike,
          floor: float = 0.06, style: str = "grid") -> None:
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


def skyline(s: Scene, foot: float, low: float, high: float, depth: float, width: float = 0.14) -> None:
    """A row of towers standing at y = foot."""
    x = -s.u(0, 0.1)
    while x < 1:
        w, h, wall = width * s.u(0.6, 1.4), s.u(low, high), np.array(s.pick(*WALLS)) * s.u(0.75, 1.0)
        if s.u() < 0.3 and h > 0.2:
            block(s, x + w * 0.25, x + w * 0.75, foot - h * s.u(1.08, 1.25), foot - h, max(depth, 0.5), wall * 0.7)
        block(s, x, x + w, foot - h, foot, depth, wall, s.u(0.035, 0.07), s.pick("grid", "grid", "bands", "columns"))
        x += w + (s.u(0, 0.05) if s.u() < 0.3 else 0)


def terrace(s: Scene, foot: float, height: float) -> None:
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


def corner_house(s: Scene, xc: float, eye: float, height: float, wide: float) -> None:
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


def low_angle(s: Scene, count: int) -> None:
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


def car(pen: Pen, s: Scene, x: float, y: float, w: float, side: bool = False) -> None:
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
        lamps = (1, 0.9, 0.6) if side else (1, 0.25, 0.15)
        light = lamps if s.dark > 0.4 else s.tone(lamps)
        pen.box(x + w * (t - 0.05), y - h * 0.48, x + w * (t + 0.05), y - h * 0.36, light)


def lamp(pen: Pen, s: Scene, x: float, y: float, h: float, side: int) -> None:
    """A street lamp standing at (x, y) with its arm to the side (-1 or 1)."""
    pole, w = s.tone((0.2, 0.21, 0.22)), max(h * 0.014, 0.002)
    pen.box(x - w, y - h, x + w, y, pole)
    pen.box(x, y - h * 1.02, x + side * h * 0.24, y - h * 0.99, pole)
    pen.dot(x + side * h * 0.24, y - h, h * 0.06, h * 0.035, (1, 0.9, 0.6) if s.dark > 0.4 else s.tone((0.9,) * 3))


def walker(pen: Pen, s: Scene, x: float, y: float, h: float) -> None:
    """A person on foot at (x, y)."""
    pen.poly([(x - h * 0.1, y), (x, y - h * 0.5), (x + h * 0.12, y)], s.tone((0.16, 0.17, 0.22)))
    pen.dot(x, y - h * 0.62, h * 0.13, h * 0.24, s.tone(np.array(s.pick(*WALLS)) * s.u(0.4, 0.9)))
    pen.dot(x, y - h * 0.92, h * 0.08, h * 0.09, s.tone((0.75, 0.55, 0.45)))


def cross_road(s: Scene, foot: float) -> None:
    """Pavement and a road running across, in front of houses standing at y = foot."""
    kerb = foot + 0.18 * (1 - foot)
    for top, rgb in ((foot, PAVEMENT), (kerb, ASPHALT)):
        r = slice(s.row(top), None)
        s.px[:, r] = _c(s.tone(rgb)) * (1 + 0.06 * s.tex("wide", r) + 0.05 * s.tex("fine", r))
    mid = (kerb + 1) / 2 + 0.02
    r = slice(s.row(mid), s.row(mid + 0.016))
    s.cover(0.8 * ((s.x * s.u(4, 8)) % 1 < 0.55), s.tone((0.92, 0.9, 0.84)), r)


def avenue(s: Scene, road: float, wall_x: float, vx: float, vy: float, eye: float, tall: float) -> None:
    """A street to its vanishing point (vx, vy): road and wall_x are half widths, eye the height above the road."""
    middle = s.row(vx)
    for sign, c in ((-1, slice(0, middle)), (1, slice(middle, s.n))):
        z = wall_x / np.maximum(sign * (s.x[:, c] - vx), 0.012)
        house = np.searchsorted(np.cumsum(s.rng.uniform(0.25, 0.9, 30)) + 0.2, np.minimum(z[0], 12))
        heights, floors = (s.rng.uniform(a, b, 31).astype(np.float32)[house] for a, b in ((0.55, 1.3), (0.16, 0.26)))
        paint = np.asarray(WALLS, np.float32)[s.rng.integers(0, len(WALLS), 31)[house]].T[:, None, :]
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


def furnish(s: Scene, road: float, wall_x: float, vx: float, vy: float, eye: float) -> None:
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
