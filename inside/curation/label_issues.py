"""Suspected label errors: confident learning (Northcutt et al. 2021) on pretrained features, and copies that disagree."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import scale

from inside.curation.features import pretrained_features
from inside.curation.groups import NearDuplicates, beyond_limits
from inside.data.sources import ImageSet
from inside.text import natural_sort

FOLDS, INNER_FOLDS, FEWEST_GROUPS = 5, 3, 5
STRENGTHS = 1e-3, 1e-2, 1e-1  # C of the regression: the inverse of its regularisation
DIRECTIONS = 256  # at most so many principal components of the features
INNER_IMAGES = 2000  # at most so many choose it
COLUMNS = ["path", "label", "suggested", "quality", "reason"]


@dataclasses.dataclass(frozen=True)
class LabelIssues:
    """What a search for label errors among the images of a set has found.

    `suspects`: path, label, suggested, quality (the out-of-sample score of the label, 0 to 1; NaN where it has none), reason
    ("conflict": a copy of the image has another label; "prediction": the regression predicts another), conflicts first, then
    by quality. `images`: how many labels were examined, or contradicted by a copy's; `left_out`: classes with too few
    groups. `why_off`: why nothing was searched, else "".
    """

    suspects: pd.DataFrame
    images: int = 0
    left_out: tuple[str, ...] = ()
    why_off: str = ""

    def table(self, split: pd.DataFrame) -> pd.DataFrame:
        """The suspects with their part of the split, as suspected_labels.csv has them."""
        part = self.suspects["path"].map(split.set_index("path")["split"])
        return self.suspects.assign(split=part)[["path", "split", *COLUMNS[1:]]]

    def results(self, split: pd.DataFrame) -> dict:
        """The numbers of 01_results.json."""
        found = self.table(split)
        return {"why_off": self.why_off or None, "images": self.images, "suspects": None if self.why_off else len(found),
                "conflicts": None if self.why_off else int((found["reason"] == "conflict").sum()),
                "by_part": found["split"].value_counts().to_dict(), "left_out": list(self.left_out)}


def find_label_issues(images: ImageSet, setting: str | bool, near: NearDuplicates, *, seed: int = 0,
                      device: torch.device | None = None, bar: bool = False) -> LabelIssues:
    """Suspected label errors among decoded images. Nothing is changed.

    `setting`: LABEL_ISSUES. "auto" examines images within the limits of `beyond_limits`; True any. `near`: what
    `group_near_duplicates` has found, by whichever setting: copies of an image do not learn its label.
    """
    table = images.table.reset_index(drop=True)
    group, others = groups_of(table, near), conflicting_labels(table, near)
    why_off, left_out, known = _why_off(table, setting), list[str](), pd.Series(False, table.index)
    if not why_off:
        sizes = group.groupby(table["label"]).nunique()
        left_out = natural_sort(sizes.index[sizes < FEWEST_GROUPS])
        known = ~table["label"].isin(left_out)
        if table.loc[known, "label"].nunique() < 2:
            why_off = f"fewer than two classes have {FEWEST_GROUPS} images that are no copies of each other"
    if why_off:
        return LabelIssues(pd.DataFrame(columns=COLUMNS), why_off=why_off)
    examined = table[known]
    classes = natural_sort(examined["label"].unique())
    labels = pd.Index(classes).get_indexer(examined["label"])
    features = pretrained_features(examined, images.root, device=device, bar=bar)
    scores = out_of_sample_scores(features, labels, group[known].to_numpy(), seed=seed)
    ranked = rank_labels(examined["path"], labels, scores, classes)
    return LabelIssues(_with_conflicts(ranked, table, others, scores, examined["path"], classes),
                       int((known | table["path"].isin(others)).sum()), tuple(left_out))


def _why_off(table: pd.DataFrame, setting: str | bool) -> str:
    """Why a setting examines nothing in an image table; "" where it does."""
    if setting is False:
        return "LABEL_ISSUES = False"
    told = beyond_limits(table) if setting == "auto" else ""
    return f"{told}; LABEL_ISSUES = True examines them all the same" if told else ""


def groups_of(table: pd.DataFrame, near: NearDuplicates) -> pd.Series:
    """A number for each row of an image table, shared by identical images and near duplicates."""
    content, near_group = table.set_index("path")["sha256"], dict[str, int]()
    for pair in near.pairs.dropna(subset=["group"]).itertuples():  # one of the images of a content stands for all
        near_group |= {content[pair.path]: pair.group, content[pair.other_path]: pair.group}
    names = [f"near {near_group[sha]}" if sha in near_group else f"group {group}" if pd.notna(group) else f"content {sha}"
             for sha, group in zip(table["sha256"], table["group"], strict=True)]
    return pd.Series(pd.factorize(pd.Series(names))[0], table.index)


def conflicting_labels(table: pd.DataFrame, near: NearDuplicates) -> dict[str, set[str]]:
    """{path: the other labels that identical images and near duplicates of it have}, of the images with any."""
    content, labels = table.set_index("path")["sha256"], table.groupby("sha256")["label"].agg(set)
    met = {sha: set(own) for sha, own in labels.items()}
    for one, other in near.pairs[["path", "other_path"]].to_numpy():
        for path, copy in ((one, other), (other, one)):
            met[content[path]] |= labels[content[copy]]
    return {row.path: others for row in table.itertuples() if (others := met[row.sha256] - {row.label})}


def out_of_sample_scores(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The scores (N, classes) of logistic regressions on features (N, D), each image's by one that has not seen its group.

    Five folds, stratified by label; the strength of the regularisation is chosen within each by inner cross-validation. The
    regression takes the principal components of the standardised features, which depend on no label.
    """
    components = PCA(min(DIRECTIONS, *features.shape), svd_solver="randomized", random_state=seed)
    features = components.fit_transform(scale(features.astype(np.float64)))
    features /= features.std()
    n_classes = labels.max() + 1
    scores = np.zeros((len(labels), n_classes))
    for learn, apply in _folds(FOLDS, labels, groups, seed):
        strength = _best_strength(features[learn], labels[learn], groups[learn], n_classes, seed)
        scores[apply] = _scores(features[learn], labels[learn], features[apply], strength, n_classes)
    return scores


def _folds(count: int, labels: np.ndarray, groups: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return list(splitter.split(labels, labels, groups))


def _best_strength(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, n_classes: int, seed: int) -> float:
    """Of STRENGTHS, that under which the labels of held-out images are most likely."""
    if len(labels) > INNER_IMAGES:
        chosen = np.random.default_rng(seed).choice(len(labels), INNER_IMAGES, replace=False)
        features, labels, groups = features[chosen], labels[chosen], groups[chosen]
    folds = _folds(INNER_FOLDS, labels, groups, seed)

    def log_likelihood(strength: float) -> float:
        held_out = ((labels[apply], _scores(features[learn], labels[learn], features[apply], strength, n_classes))
                    for learn, apply in folds)
        return float(np.mean([np.log(scores[np.arange(len(true)), true].clip(1e-6)).mean() for true, scores in held_out]))
    return max(STRENGTHS, key=log_likelihood)


def _scores(features: np.ndarray, labels: np.ndarray, wanted: np.ndarray, strength: float, n_classes: int) -> np.ndarray:
    """The scores (M, classes) of images that a regression on others gives; 0 for classes of which it has seen none."""
    model = LogisticRegression(C=strength, max_iter=500, tol=1e-3).fit(features, labels)
    scores = np.zeros((len(wanted), n_classes))
    scores[:, model.classes_] = model.predict_proba(wanted)
    return scores


def rank_labels(paths: pd.Series, labels: np.ndarray, scores: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """All images by the out-of-sample score of their label, the lowest first: COLUMNS, and `suspected`.

    `suspected`: as confident learning prunes by noise rates, with cleanlab: as many images of each label as are estimated to
    be of another class.
    """
    from cleanlab.filter import find_label_issues as prune
    from cleanlab.rank import get_label_quality_scores

    quality = get_label_quality_scores(labels, scores, method="self_confidence")
    found = pd.DataFrame({"path": paths.to_numpy(), "label": np.asarray(classes, object)[labels],
                          "suggested": np.asarray(classes, object)[scores.argmax(axis=1)], "quality": quality,
                          "reason": "prediction", "suspected": prune(labels, scores, n_jobs=1)})
    return found.sort_values(["quality", "path"], kind="stable", ignore_index=True)


def _with_conflicts(ranked: pd.DataFrame, table: pd.DataFrame, others: dict[str, set[str]], scores: np.ndarray,
                    paths: pd.Series, classes: Sequence[str]) -> pd.DataFrame:
    """The suspects of a ranking, headed by the images of which a copy has another label."""
    place, known = {path: row for row, path in enumerate(paths)}, {name: column for column, name in enumerate(classes)}
    quality, label = ranked.set_index("path")["quality"], table.set_index("path")["label"]

    def likely(path: str, name: str) -> float:
        return scores[place[path], known[name]] if path in place and name in known else -1.0
    rows = [(path, label[path], max(natural_sort(names), key=lambda name: likely(path, name)), quality.get(path), "conflict")
            for path, names in others.items()]
    rest = ranked.loc[ranked["suspected"] & ~ranked["path"].isin(list(others)), COLUMNS].reset_index(drop=True)
    if not rows:
        return rest
    conflicts = pd.DataFrame(rows, columns=COLUMNS).astype({"quality": float})
    return pd.concat([conflicts.sort_values(["quality", "path"], kind="stable"), rest], ignore_index=True)
