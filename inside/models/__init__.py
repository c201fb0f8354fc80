"""Networks: by name, with new heads, frozen in part, from scratch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "scratch": ["build_from_scratch", "convnet5_costs", "legal_options"],
    "surgery": ["count_costs"],
})
