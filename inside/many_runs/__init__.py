"""What is done with several runs or a finished one: sweeps, comparison, checks, predictions, a list, room on the disk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "check.runs": ["check_runs"],
    "clean": ["clean_run"],
    "compare.page": ["compare_runs"],
    "listing": ["list_runs"],
    "predict.folder": ["predict_folder"],
})
