"""Assigning images to the parts of a split: by class quotas if they fit, otherwise as closely as duplicates allow.

Own code: scikit-learn's StratifiedGroupKFold keeps duplicates together, but takes no counts and assigns greedily.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import LinearConstraint, milp
from scipy.sparse.csgraph import connected_components

from inside.names import SPLITS
from inside.text import natural_sort


def _apportion(class_sizes: pd.Series, n_images: int) -> pd.Series:
    """Divide `n_images` among the classes in proportion to their sizes, by largest remainders."""
    exact = class_sizes * (n_images / class_sizes.sum())
    shares = np.floor(exact + 1e-9).astype(int)
    largest = (exact - shares).sort_values(ascending=False, kind="stable").index
    shares[largest[:n_images - shares.sum()]] += 1
    return shares


def _class_quotas(labels: pd.Series, counts: Sequence[int]) -> pd.DataFrame:
    """How many images of a class (row, natural order) belong in a part (column); parts with the count 0 are omitted."""
    sizes = labels.value_counts().loc[natural_sort(labels.unique())]
    used = _apportion(sizes, sum(counts))
    quota = pd.DataFrame({"val": _apportion(used, counts[1]), "test": _apportion(used, counts[2])})
    quota.insert(0, "train", used - quota["val"] - quota["test"])
    quota = quota[[part for part, count in zip(SPLITS, counts, strict=True) if count]]
    for label, row in quota.iterrows():
        if row.min() < 1:
            images = f"{sizes[label]} image{'' if sizes[label] == 1 else 's'}"
            raise ValueError(f"The class {label!r} with its {images} would have none in {row.idxmin()}: add images to it, "
                             "remove it, or give that part a larger share in SPLIT.")
    return quota


def _pictures(table: pd.DataFrame) -> dict[str, Counter]:
    """{sha256: {label: images}} of a table: what has to stay together, in natural order of the first path."""
    names = natural_sort({name for path in table["path"] for name in path.split("/")})
    rank = {name: place for place, name in enumerate(names)}
    rows = sorted(zip(table["path"], table["sha256"], table["label"], strict=True),
                  key=lambda row: ([rank[name] for name in row[0].split("/")], row))
    found: dict[str, Counter] = {}
    for _, content, label in rows:
        found.setdefault(content, Counter())[label] += 1
    return found


def _draw_split(free: pd.DataFrame, counts: Sequence[int], seed: int) -> pd.Series:
    """The part of each row of `free`: by class quotas, or as close to them as its duplicates allow; "" for none."""
    rng, quota, pictures = np.random.default_rng(seed), _class_quotas(free["label"], counts), _pictures(free)
    different = Counter(label for need in pictures.values() for label in need)
    for label in quota.index:
        if different[label] < quota.shape[1]:
            raise ValueError(f"The class {label!r} has too few distinct images ({different[label]}) for one in each of "
                             f"{', '.join(quota)}: add images to it, or remove the class.")
    chosen, excess = _deal_by_quota(pictures, quota, rng), 0
    for labels in _connected_classes(pictures, list(quota.index)):
        own = {content: need for content, need in pictures.items() if need.keys() <= set(labels)}
        if not _part_sizes(own, chosen, quota.loc[labels]).equals(quota.loc[labels]):
            chosen |= _deal_nearest(own, quota.loc[labels], excess, chosen, rng, whole=sum(counts) == len(free))
            excess += (_part_sizes(own, chosen, quota.loc[labels]) - quota.loc[labels]).sum()
    return free["sha256"].map(chosen)


def _part_sizes(pictures: Mapping[str, Counter], chosen: Mapping[str, str], like: pd.DataFrame) -> pd.DataFrame:
    """Images of each class in each part, with the rows and columns of `like`."""
    found = Counter((label, chosen[content]) for content, need in pictures.items() for label in need.elements())
    return pd.DataFrame([[found[label, part] for part in like] for label in like.index], like.index, like.columns)


def _deal_by_quota(pictures: Mapping[str, Counter], quota: pd.DataFrame, rng: np.random.Generator) -> dict[str, str]:
    """{sha256: part}: duplicates at random where all their classes have room, then unique images; "" if there is no room."""
    chosen, left = dict.fromkeys(pictures, ""), quota.to_dict("index")
    groups = [item for item in pictures.items() if item[1].total() > 1]
    for content, need in sorted(groups, key=lambda item: -item[1].total()):
        room = [part for part in quota if all(left[label][part] >= images for label, images in need.items())]
        if room:
            weight = np.array([sum(left[label][part] for label in need) for part in room], dtype=float)
            chosen[content] = str(rng.choice(room, p=weight / weight.sum()))
            for label, images in need.items():
                left[label][chosen[content]] -= images
    single: dict[str, list[str]] = {label: [] for label in left}
    for content, need in pictures.items():
        if need.total() == 1:
            single[next(iter(need))].append(content)
    for label, contents in single.items():
        dealt = [part for part, room in left[label].items() for _ in range(room)]
        chosen |= {contents[place]: part for place, part in zip(rng.permutation(len(contents)), dealt, strict=False)}
    return chosen


def _connected_classes(pictures: Mapping[str, Counter], labels: Sequence[str]) -> list[list[str]]:
    """The classes in sets that share no image with one another, in natural order."""
    index = {label: place for place, label in enumerate(labels)}
    pairs = {(index[first], index[other]) for first, *others in pictures.values() for other in others}
    links = np.zeros((len(labels), len(labels)), dtype=bool)
    links[tuple(np.array(sorted(pairs), dtype=int).reshape(-1, 2).T)] = True
    _, member = connected_components(links, directed=False)
    return [[label for label in labels if member[index[label]] == number] for number in dict.fromkeys(member)]


def _deal_nearest(pictures: Mapping[str, Counter], quota: pd.DataFrame, excess: pd.Series | int, drawn: Mapping[str, str],
                  rng: np.random.Generator, *, whole: bool) -> dict[str, str]:
    """{sha256: part} as near to the quotas as whole pictures come, each class in each part; ValueError where none is.

    Pictures with the same images of the same classes are one kind: `_nearest_numbers` says how many of a kind go where,
    chance says which. `excess`: images of other classes beyond the parts' sizes; `drawn`: a first draw, to stay near;
    `whole`: all are used, else "" marks those that are not.
    """
    kinds: dict[tuple, list[str]] = {}
    for content, need in pictures.items():
        kinds.setdefault(tuple(sorted(need.items())), []).append(content)
    needs = np.array([[dict(kind).get(label, 0) for label in quota.index] for kind in kinds])
    first = np.array([[sum(drawn[content] == part for content in contents) for part in quota]
                      for contents in kinds.values()])
    sizes = np.array([len(contents) for contents in kinds.values()])
    numbers = _nearest_numbers(needs, sizes, quota.to_numpy(), np.asarray(excess), first, whole=whole)
    if numbers is None:
        least = min(quota.index, key=lambda label: sum(label in need for need in pictures.values()))
        raise ValueError(f"The class {least!r} shares so many images with {', '.join(quota.index.drop(least))} that no "
                         f"split was found with one of each in {', '.join(quota)}: correct the labels of the images that "
                         "have several, or add images.")
    chosen: dict[str, str] = {}
    for contents, number in zip(kinds.values(), numbers, strict=True):
        parts = [*np.repeat(list(quota), number).tolist(), *[""] * (len(contents) - number.sum())]
        chosen |= {contents[place]: part for place, part in zip(rng.permutation(len(contents)), parts, strict=True)}
    return chosen


def _nearest_numbers(needs: np.ndarray, sizes: np.ndarray, quota: np.ndarray, excess: np.ndarray, first: np.ndarray, *,
                     whole: bool) -> np.ndarray | None:
    """How many pictures of each kind go to each part (kinds, parts), each class in each part; None where none is such.

    `needs` (kinds, classes): images of a class in a picture; `sizes` (kinds,): pictures; `quota` (classes, parts). An
    integer programme (HiGHS) that minimises one after another: images off the quotas of the classes, images off the sizes
    of the parts, pictures off the `first` draw (kinds, parts). Each search ends after 1,000 nodes, if not solved by then.
    """
    each = np.eye(quota.shape[1])
    rows = [np.kron(needs.T, each), np.kron(needs.sum(1)[None], each), np.eye(first.size)]
    wanted = np.concatenate([quota.ravel(), quota.sum(0) - excess, first.ravel()])
    off = np.eye(len(wanted))  # behind the numbers x stand variables for |rows x - wanted|
    present, used = (np.pad(matrix, ((0, 0), (0, len(off)))) for matrix in (
        np.kron(needs.T > 0, each), np.kron(np.eye(len(sizes)), np.ones(quota.shape[1]))))
    limits = [LinearConstraint(np.hstack([np.vstack(rows), -off]), ub=wanted),
              LinearConstraint(np.hstack([np.vstack(rows), off]), lb=wanted),
              LinearConstraint(present, lb=1), LinearConstraint(used, sizes if whole else 0, sizes)]
    goal, numbers = np.repeat([0, 1, 2], [len(part) for part in rows]), None
    for number in range(3):
        cost = np.concatenate([np.zeros(first.size), goal == number])
        found = milp(cost, integrality=np.arange(len(cost)) < first.size, constraints=limits, options={"node_limit": 1000})
        if found.x is None:
            break
        numbers = found.x[:first.size].round().astype(int).reshape(first.shape)
        limits.append(LinearConstraint(cost[None], ub=found.fun + 1e-6))
    return numbers
