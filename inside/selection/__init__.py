"""Which settings: search, and networks side by side."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "comparison": ["compare", "describe_comparison", "format_comparison"],
    "describe": ["describe_importances", "describe_noise", "describe_search", "describe_trials"],
    "importance": ["importances"],
    "plots": ["plot_importances", "plot_noise_band", "plot_parallel_coordinates", "plot_trials"],
    "search": ["noise_band", "run_search"],
})
