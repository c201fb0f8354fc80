"""Pictures in files from outside, opened by the decoders of Pillow alone."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from PIL import Image

# Others, whatever the name of the file: EPS starts Ghostscript, which runs the program that such a file is.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def open_picture(file: str | Path | BinaryIO) -> Image.Image:
    """Image.open of a raster image. Raises PIL.UnidentifiedImageError for all else."""
    Image.init()
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])  # AVIF: from Pillow 11.3 on
