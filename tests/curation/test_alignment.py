"""Tests of inside/curation/alignment.py."""

import numpy as np
import pytest
from PIL import Image

from inside.curation.alignment import DETAIL, SIDE, detail_correlation


def thumbnail(image):
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def images(scenes):
    return [Image.open(path) for path in sorted(scenes.rglob("*.jpg"))[::6]]


def test_an_image_correlates_with_its_crops_and_not_with_others(images):
    own = np.stack([thumbnail(image) for image in images])
    assert np.allclose(detail_correlation(own, own), 1, atol=1e-4)
    boxes = [(0, 0, 138, 138), (12, 12, 150, 150), (0, 12, 150, 150), (6, 3, 144, 146)]
    cropped = np.stack([thumbnail(image.crop(boxes[number % 4])) for number, image in enumerate(images)])
    assert detail_correlation(own, cropped).min() > 0.7
    assert np.allclose(detail_correlation(own, cropped), detail_correlation(cropped, own), atol=1e-6)
    assert detail_correlation(own, np.roll(own, 1, axis=0)).max() < 0.4


def test_details_are_what_is_left_without_the_mean_around(images, monkeypatch):
    """Without alignment, against SciPy's box filter and NumPy's correlation, away from the border."""
    from scipy.ndimage import uniform_filter

    from inside.curation import alignment
    monkeypatch.setattr(alignment, "LEVELS", ())
    one, other = (thumbnail(image).astype(float) for image in images[:2])
    wanted = np.corrcoef(*((grey - uniform_filter(grey, 2 * DETAIL + 1, mode="nearest")).ravel() for grey in (one, other)))[0, 1]
    assert detail_correlation(one[None], other[None]) == pytest.approx(wanted, abs=1e-4)


def test_brightness_and_contrast_change_nothing_and_flat_images_have_no_details(images):
    one, other = (thumbnail(image).astype(np.float32) for image in images[:2])
    plain = detail_correlation(one[None], other[None])
    assert np.allclose(detail_correlation(one[None], 0.5 * other[None] + 40), plain, atol=5e-3)
    assert abs(detail_correlation(one[None], np.full_like(other, 90)[None])) < 1e-3
    assert detail_correlation(one[None][:0], one[None][:0]).shape == (0,)
