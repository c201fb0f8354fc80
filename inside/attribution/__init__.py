"""What a network looks at, and whether that holds."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "as_it_is": ["look_as_it_is"],
    "as_it_is_report": ["as_it_is_results", "report_as_it_is"],
    "checks": ["check_occlusion", "check_randomisation"],
    "describe": ["attribution_results"],
    "inputs": ["describe_sizes", "open_inspection"],
    "objects": ["look_for_objects", "objects_results", "report_objects"],
    "report": ["map_examples", "report_first_layer", "report_neurons"],
})
