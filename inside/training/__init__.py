"""From settings to a trained network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "experiment": ["Experiment", "load_trained", "train_into"],
    "loop": ["Trainer", "best_epoch"],
    "report": ["report_training"],
})
