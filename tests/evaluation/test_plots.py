"""Tests of inside/evaluation/plots.py."""


from inside.evaluation.plots import class_colors, plot_confusion, short_name
from inside.training.plots import plot_history
from inside.training.recipe import Recipe
from shared.training import predictions_of, train


def test_plots_draw_what_they_are_given():
    _, history = train(Recipe(epochs=3))
    ax = plot_history(history)
    assert [line.get_ydata().tolist() for line in ax.lines[:2]] == [history["train_loss"].tolist(), history["val_loss"].tolist()]
    assert len(ax.lines) == 3  # the third is the chosen epoch
    predictions = predictions_of(["a", "a", "b"], [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], ["a", "b"])
    texts = [text.get_text() for text in plot_confusion(predictions, ["a", "b"]).texts]
    assert texts == ["1", "1", "1", ""]  # none is blank
    assert len(plot_confusion(predictions, ["a", "b"]).figure.axes) == 1  # no colour bar
    assert class_colors(["b", "a"]) == class_colors(["a", "b"])


def test_long_names_keep_their_ends():
    names = [f"a class with a very long name, number {number}" for number in range(12)] + ["short"]
    shown = [short_name(name) for name in names]
    assert len(set(shown)) == 13 and shown[-1] == "short" and all(len(name) <= 24 for name in shown)
    predictions = predictions_of([names[0], names[1]], [[0.9, 0.1], [0.2, 0.8]], names[:2])
    assert [text.get_text() for text in plot_confusion(predictions, names[:2]).get_xticklabels()] == shown[:2]
    assert short_name("\x1b[31mred\nline \u202eback") == "\\x1b[31mred\\nli…202eback"
