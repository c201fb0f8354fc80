"""Tests of inside/evaluation/predictions.py."""

import numpy as np
import pytest
import torch

from inside.data.loading import make_loader
from inside.evaluation.describe import describe_confusion
from inside.evaluation.predictions import predict, top_and_bottom
from shared.training import features, predictions_of, small_network


def test_scores_are_softmax_in_the_order_of_the_loader():
    model, dataset = small_network().train(), features(20)
    scores, losses = predict(model, make_loader(dataset, batch_size=6))
    with torch.no_grad():
        wanted = model.eval()(dataset.tensors[0]).softmax(1).double()
    assert np.allclose(scores, wanted, atol=1e-6) and np.allclose(scores.sum(1), 1)
    assert np.allclose(losses, -np.log(scores[np.arange(20), dataset.targets]), atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_prediction_keeps_the_mode_of_the_network(training):
    model = small_network().train(training)
    predict(model, make_loader(features(6), batch_size=6))
    assert model.training is training and model[2].training is training


def test_ranking_and_confusion():
    scores = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.4, 0.6]]
    predictions = predictions_of(["a", "a", "b", "a"], scores, ["a", "b"])
    highest, lowest = top_and_bottom(predictions, "a", n=2)
    assert list(highest["path"]) == ["0.png", "2.png"] and list(lowest["path"]) == ["3.png", "1.png"]
    assert describe_confusion(predictions) == "a is taken for b most often: 2 of 3 errors on test."
    with pytest.raises(ValueError, match="'c', which is no class"):
        top_and_bottom(predictions, "c")
