"""Networks: by name, with new heads, frozen in part, from scratch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "saved": ["save_temperature"],
    "counting": ["convnet5_table", "describe_convnet5", "options_table"],
})
