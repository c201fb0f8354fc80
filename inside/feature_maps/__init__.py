"""What the feature maps of a network look like: hooks, statistics in one pass, spectra."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "audit": ["hook_audit"],
    "certainty": ["bootstrap_spectrum", "split_half"],
    "share_sentences": ["describe_channel_figure", "describe_class_figure", "describe_dead", "describe_input_sizes",
        "describe_share_figure", "describe_shares"],
    "spectra_sentences": ["describe_by_layer", "describe_comparison", "describe_spectra"],
    "frozen": ["frozen_layers"],
    "hooks": ["RESNET_LAYERS", "capture", "choose_layers", "module_table"],
    "plots": ["plot_by_layer", "plot_channel_shares", "plot_class_heatmap", "plot_cumulative_variance",
        "plot_effective_ranks", "plot_non_positive_shares", "plot_similarity"],
    "scenario_names": ["first_draws", "mark_frozen", "scenario_draw", "scenario_style"],
    "scenarios": ["input_size", "is_pretrained", "open_scenarios", "own_images", "random_draws", "scenario_statistics"],
    "shares": ["SHARE_COLUMNS", "channel_share_table", "class_share_table", "count_twice", "dead_overview",
        "share_overview", "share_results", "share_table"],
    "spectra": ["save_spectra", "spectrum"],
    "spectra_tables": ["certainty_table", "comparison_table", "spectra_results", "spectra_table"],
    "states": ["StreamingCovariance"],
})
