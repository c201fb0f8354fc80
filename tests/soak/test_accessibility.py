"""make soak: axe-core's rules on the page, in the ways to see it that `make test` leaves out."""

import pytest

from shared.accessibility import check, make_page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return make_page(tmp_path_factory.mktemp("page") / "run")


@pytest.mark.parametrize("width, theme, unfolded", [(1280, "dark", True), (390, "light", True), (1280, "light", False), (390, "dark", False)])
def test_axe_finds_nothing_serious(browser, page, width, theme, unfolded):
    check(browser, page, width, theme, unfolded=unfolded)
