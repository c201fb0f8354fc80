"""Pictures in files from outside, opened by the decoders of Pillow alone."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from PIL import Image

# Others, whatever the name of the file: EPS starts Ghostscript, which runs the program that such a file is.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def open_picture(file: str | Path | BinaryIO) -> Image.Image:
    """Image.open of a raster image. Raises PIL.UnidentifiedImageError for all else."""
    return Image.open(file, formats=FORMATS)
