"""Which settings: search, and networks side by side."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "choice": ["choose_settings"],
    "comparison": ["compare"],
})
