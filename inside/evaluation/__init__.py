"""How good a network is: predictions, metrics with intervals, rankings."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "describe": ["describe_classes", "describe_confusion", "describe_evaluation", "describe_scores"],
    "metrics": ["class_metrics", "format_metrics", "majority_baseline", "metrics_summary"],
    "plots": ["plot_class_metrics", "plot_confusion"],
    "predictions": ["check_reloaded", "saved_predictions", "top_and_bottom"],
})
