"""What the feature maps of a network look like: hooks, statistics in one pass, spectra."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "audit": ["hook_audit"],
    "share_report": ["report_audit", "report_channels", "report_classes", "report_counts", "report_modules",
        "report_scenarios", "report_shares"],
    "share_sentences": ["describe_input_sizes", "describe_shares"],
    "spectra_sentences": ["describe_spectra"],
    "frozen": ["frozen_layers"],
    "hooks": ["RESNET_LAYERS", "capture", "choose_layers", "format_modules", "module_table"],
    "report": ["check_certainty", "report_comparison", "report_cumulative_variance", "report_resolution_control",
        "report_spectra"],
    "scenario_names": ["describe_missing", "first_draws"],
    "scenarios": ["input_size", "is_pretrained", "open_scenarios", "own_images", "random_draws", "scenario_statistics"],
    "shares": ["SHARE_COLUMNS", "class_share_table", "count_twice", "share_results", "share_table"],
    "spectra": ["covariance_difference", "measure_spectra", "save_spectra", "trace_difference"],
    "spectra_tables": ["comparison_table", "spectra_results", "spectra_table"],
    "stage_measures": ["measure_stages"],
    "stage_report": ["describe_stages", "report_stages", "stage_results"],
    "states": ["StreamingCovariance"],
})
