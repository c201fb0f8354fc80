"""What is done with runs that have finished: a list of them, predictions for new images, checks of what was handed in."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "check": ["check_runs"],
    "listing": ["list_runs"],
    "predict": ["predict_folder"],
})
