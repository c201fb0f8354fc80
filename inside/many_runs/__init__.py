"""What is done with finished runs: comparison, checks of what was handed in, predictions, a list, room on the disk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "check": ["check_runs"],
    "clean": ["clean_run"],
    "compare": ["compare_runs"],
    "listing": ["list_runs"],
    "predict": ["predict_folder"],
})
