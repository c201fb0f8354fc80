"""How good a network is: predictions, metrics with intervals, calibration, rankings."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "calibration": ["calibrate"],
    "describe": ["describe_evaluation", "describe_reloaded"],
    "metrics": ["class_metrics", "majority_baseline", "metrics_summary"],
    "neighbours": ["costliest_errors", "nearest_images", "without_suspects"],
    "predictions": ["check_reloaded", "saved_predictions"],
    "report": ["report_calibration", "report_confusion", "report_costliest", "report_metrics", "report_ranked",
               "report_samples", "report_scores"],
})
