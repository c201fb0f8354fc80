"""What a network looks at, and whether that holds."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "cam": ["view_examples"],
    "describe": ["attribution_results", "describe_occlusion", "describe_occlusion_figure", "describe_randomisation",
        "describe_randomisation_figure", "randomisation_baselines", "summarise_randomisation"],
    "guided": ["NotGuidable", "guided_neurons"],
    "inputs": ["SHOWN_FILTERS", "describe_sizes", "feature_maps_of", "first_convolution", "first_filters",
        "open_inspection", "pick_examples"],
    "occlusion": ["middle_image", "occlusion_check"],
    "plots": ["plot_class_activation_maps", "plot_filters", "plot_first_layer", "plot_neurons", "plot_occlusion",
        "plot_randomisation", "plot_randomised"],
    "randomisation": ["parameter_randomisation_test"],
})
