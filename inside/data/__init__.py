"""Images: data sets, the image table, the cache of decoded images, the split, augmentation, loaders, grids."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "describe": ["describe_overlaps", "describe_preprocessing"],
    "ignore": ["ignore_images"],
    "loading": ["ImageDataset", "make_loader"],
    "report": ["report_augmentation", "report_duplicates", "report_images", "report_split"],
    "sources": ["open_dataset"],
    "split": ["split_images", "split_overlaps"],
    "table": ["decode_images", "duplicate_table", "image_marks"],
    "transforms": ["make_transform"],
})
