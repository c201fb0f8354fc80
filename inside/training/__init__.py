"""From settings to a trained network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "describe": ["describe_training"],
    "experiment": ["Experiment", "load_trained", "train_into"],
    "loop": ["Trainer", "best_epoch"],
    "plots": ["plot_accuracy_by_epoch", "plot_history", "plot_learning_curves"],
})
