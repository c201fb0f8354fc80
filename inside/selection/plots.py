"""What a search tells: importances, plots."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from inside.selection.describe import _numbered
from inside.selection.search import Search
from inside.text import format_share, format_value

STATES = {"COMPLETE": ("o", "#0072b2"), "PRUNED": ("X", "#888888"), "FAIL": ("s", "#d55e00")}
STATE_NAMES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def plot_search(trials: pd.DataFrame, *, base: float | None = None, band: pd.DataFrame | None = None) -> plt.Figure:
    """The score of each trial and, where the noise band was measured, beside it the scores of the new seeds, on one axis."""
    fig, axes = plt.subplots(1, 1 if band is None else 2, figsize=(10.4, 4.2), layout="constrained", sharey=True,
                             squeeze=False, width_ratios=[1] if band is None else [1.5, 1])
    plot_trials(trials, base=base, ax=axes[0, 0])
    if band is not None:
        plot_noise_band(band, ax=axes[0, 1])
        axes[0, 1].set_ylabel("")
    return fig


def plot_trials(trials: pd.DataFrame, *, base: float | None = None, ax: plt.Axes | None = None) -> plt.Axes:
    """Score by number of the trial, with the best so far; pruned trials at the score at which they were stopped.

    `base`: the score of the settings as they stand, a line across.
    """
    ax = ax or plt.subplots(figsize=(7, 3.6), layout="constrained")[1]
    for state, (marker, color) in STATES.items():
        part = trials[(trials["state"] == state) & trials["score"].notna()]
        if len(part):
            label = f"{STATE_NAMES[state]} ({len(part)})"
            ax.plot(part["number"], part["score"], marker, color=color, markersize=7, label=label, alpha=0.85)
    best = trials["score"].where(trials["state"] == "COMPLETE").cummax().ffill()
    if base is not None and math.isfinite(base):
        ax.axhline(base, color="#cc79a7", linestyle="--", linewidth=1.2, label="settings as they stand")
    ax.step(trials["number"], best, where="post", color="black", linewidth=1.2, label="best so far")
    ax.set(xlabel="trial", ylabel="mean class accuracy on validation", title="Trials")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.margins(y=0.08)
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return ax


def plot_noise_band(band: pd.DataFrame, *, ax: plt.Axes | None = None) -> plt.Axes:
    """One point per seed for each setting, their means and ranges, and the score that the setting had in the search."""
    names = list(dict.fromkeys(band["setting"]))
    ax = ax or plt.subplots(figsize=(4.4, 4), layout="constrained")[1]
    for place, name in enumerate(names):
        part, first = band[band["setting"] == name], not place
        low, high = part["score"].min(), part["score"].max()
        ax.bar(place, high - low, 0.5, bottom=low, color="#0072b2", alpha=0.25,
               label="noise band: range of the seeds" if first else None)
        ax.plot([place] * len(part), part["score"], "o", color="#0072b2", markersize=7, alpha=0.75,
                label="one new seed" if first else None)
        ax.plot([place - 0.25, place + 0.25], [part["score"].mean()] * 2, color="black", linewidth=1.2,
                label="mean" if first else None)
        ax.plot(place - 0.38, part["trial_score"].iloc[0], "D", color="#d55e00", markersize=7, fillstyle="none",
                label="score in the search" if first else None)
    ax.set_xticks(range(len(names)), [f"{name}\n{_numbered(band[band['setting'] == name]).strip()}" for name in names])
    n_seeds, ax.use_sticky_edges = band["seed"].nunique(), False
    ax.margins(y=0.08)
    ax.set(ylabel="mean class accuracy on validation", xlim=(-0.6, len(names) - 0.4),
           title=f"{n_seeds} new seed{'s' * (n_seeds != 1)} for each setting")
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return ax


def _positions(values: pd.Series, distribution: BaseDistribution) -> tuple[np.ndarray, list[float], list[str]]:
    """Values of an option on a scale from 0 to 1, and the ticks of that scale with their labels."""
    if isinstance(distribution, CategoricalDistribution):
        choices = list(distribution.choices)
        places = np.linspace(0, 1, len(choices)) if len(choices) > 1 else np.array([0.5])
        lookup = {repr(choice): place for choice, place in zip(choices, places, strict=True)}
        heights = np.array([lookup.get(repr(value), math.nan) for value in values])
        return heights, list(places), [format_value(choice) for choice in choices]
    change = math.log if distribution.log else float
    low, high = change(distribution.low), change(distribution.high)
    places = np.array([math.nan if pd.isna(value) else (change(value) - low) / (high - low) for value in values])
    ticks = np.linspace(low, high, 4)
    shown = np.exp(ticks) if distribution.log else ticks
    whole = isinstance(distribution, IntDistribution)
    return places, list(np.linspace(0, 1, 4)), [format_value(round(value) if whole else float(value)) for value in shown]


def plot_parallel_coordinates(found: Search) -> plt.Figure:
    """One line per complete trial through its options and its score, coloured by it; a gap: the option was not drawn."""
    trials = found.trials[found.trials["state"] == "COMPLETE"].sort_values(["score", "number"], ascending=[True, False])
    names, n = list(found.space), len(found.space) + 1
    columns = [_positions(trials[name].astype(object), found.space[name]) for name in names]
    low, high = trials["score"].min(), trials["score"].max()
    low, high = (low - 0.01, high + 0.01) if high - low < 1e-9 else (low, high)
    ticks = np.linspace(low, high, 5)
    scores = (trials["score"].to_numpy() - low) / (high - low)
    columns.append((scores, list(np.linspace(0, 1, 5)), [f"{tick:.3f}" for tick in ticks]))
    fig, ax = plt.subplots(figsize=(max(7.0, 1.75 * n), 4.4), layout="constrained")
    colors = plt.get_cmap("viridis")
    spread = np.linspace(-0.03, 0.03, len(trials)) if len(trials) > 1 else [0.0]  # apart where many chose the same word
    words = [isinstance(found.space[name], CategoricalDistribution) for name in names] + [False]
    for row in range(len(trials)):
        heights = [column[0][row] + spread[row] * word for column, word in zip(columns, words, strict=True)]
        last = row == len(trials) - 1
        ax.plot(range(n), heights, "o-", color=colors(columns[-1][0][row]), markersize=4, linewidth=3 if last else 1.2,
                alpha=1 if last else 0.75)
    for place, (_, at, labels) in enumerate(columns):
        ax.axvline(place, color="#444444", linewidth=0.8, zorder=0)
        for height, label in zip(at, labels, strict=True):
            ax.annotate(label, (place, height), (5, 0), textcoords="offset points", fontsize=8, va="center", zorder=5,
                        parse_math=False, bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8})
    ax.set_xticks(range(n), [*(name.replace("_", "\n") for name in names), "score"])
    ax.set(yticks=[], ylim=(-0.06, 1.06), xlim=(-0.15, n - 0.45))
    ax.spines[:].set_visible(False)
    ax.tick_params(axis="x", length=0)
    return fig


MEASURES = {"Spearman ρ": "Spearman's ρ", "ratio η": "correlation ratio η"}


def plot_importances(table: pd.DataFrame) -> plt.Figure:
    """Importance of each option beside its correlation with the score: Spearman's ρ, from -1 to 1, for numbers, the ratio η,
    from 0 to 1, for words, on axes of their own; chance levels are grey, and what is unknown says so."""
    measures = [name for name in ("Spearman ρ", "ratio η") if (table["measure"] == name).any()] or ["Spearman ρ"]
    fig, axes = plt.subplots(1, 1 + len(measures), figsize=(10.4, 0.42 * len(table) + 1.5), layout="constrained",
                             sharey=True)
    unknown = table["correlation"].isna()
    largest = table["importance"].max() if table["importance"].notna().any() else 1
    _plot_bars(axes[0], table, "importance", "#0072b2")
    axes[0].set(xlabel="importance (share of what the options explain, fANOVA)", xlim=(0, 1.25 * largest))
    for place, (ax, measure) in enumerate(zip(axes[1:], measures, strict=True)):
        low = 0 if measure == "ratio η" else -1  # η has no sign
        rows = table[(table["measure"] == measure) | (unknown & (place == 0))]
        ax.barh(rows["option"], rows["chance"].fillna(0) * (1 - low), left=low * rows["chance"].fillna(0), height=0.96,
                color="#dddddd", zorder=0, label="below this in 95 of 100 permutations of the scores")
        _plot_bars(ax, rows, "correlation", "#009e73")
        ax.set(xlabel=f"{MEASURES[measure]} with the score", xlim=(1.1 * low, 1.3))
        ax.set_xticks([-1, -0.5, 0, 0.5, 1] if low else [0, 0.5, 1])
    fig.legend(*axes[1].get_legend_handles_labels(), loc="outside lower right", frameon=False, fontsize=9)
    axes[0].set_yticks(range(len(table)), table["option"])
    axes[0].invert_yaxis()
    return fig


def _plot_bars(ax: plt.Axes, rows: pd.DataFrame, column: str, color: str) -> None:
    """A bar a row at the place of its option in the table, with its number."""
    ax.barh(rows["option"], rows[column].fillna(0), color=color, alpha=0.8)
    ax.axvline(0, color="black", linewidth=0.8)
    for place, value in rows[column].items():
        text = format_share(value, 2) if math.isfinite(value) else "unknown"
        end = max(value, 0) if math.isfinite(value) else 0
        ax.annotate(text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
