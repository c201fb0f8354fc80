"""Images: data sets, the image table, the split, loaders, grids."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "grids": ["draw_samples", "plot_augmentation", "plot_images", "plot_predictions", "short_paths"],
    "loading": ["ImageDataset", "make_loader", "make_transform"],
    "sources": ["open_dataset"],
    "split": ["class_counts", "describe_split", "split_images", "split_overlaps"],
    "table": ["decode_images", "describe_duplicates", "duplicate_table", "image_marks", "load_image", "size_table"],
})
