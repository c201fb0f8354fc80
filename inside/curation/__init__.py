"""What is wrong with the images: near duplicates."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "groups": ["group_near_duplicates"],
    "report": ["report_near_duplicates"],
})
