"""What is done with runs that have finished: a list of them, a comparison, room on the disk, predictions for new images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "clean": ["clean_run"],
    "compare": ["compare_runs"],
    "listing": ["list_runs"],
    "predict": ["predict_folder"],
})
