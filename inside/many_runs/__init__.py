"""What is done with a run that has finished: predictions for new images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "predict": ["predict_folder"],
})
