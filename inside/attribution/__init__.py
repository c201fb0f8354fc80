"""What a network looks at, and whether that holds."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "describe": ["attribution_results"],
    "inputs": ["describe_sizes", "open_inspection"],
    "report": ["check_occlusion", "check_randomisation", "map_examples", "report_first_layer", "report_neurons"],
})
