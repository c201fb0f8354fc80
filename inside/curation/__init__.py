"""What may be wrong with the images: near duplicates and suspected label errors."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "groups": ["group_near_duplicates"],
    "label_issues": ["find_label_issues"],
    "report": ["report_label_issues", "report_near_duplicates"],
})
