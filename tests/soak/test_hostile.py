"""make soak: all three notebooks on images of hostile names, with the figures of the ranks of every class."""

from bs4 import BeautifulSoup

from inside.cli.main import main
from inside.text import visible
from shared.hostile import CLASSES, hostile_run
from shared.kernels import forked_kernels  # noqa: F401


def test_every_name_is_a_name_in_every_figure(tmp_path):
    assert main(hostile_run(tmp_path, tmp_path / "run", ranked=CLASSES)) == 0
    page = BeautifulSoup((tmp_path / "run" / "report.html").read_text(encoding="utf-8"), "html.parser")
    captions = [caption.text.replace("\u2068", "").replace("\u2069", "") for caption in page.find_all("figcaption")]
    assert [name for name in map(visible, CLASSES) if not any(f"highest scores for {name} belong" in caption for caption in captions)] == []
    assert page.select("script, iframe, object, embed, svg, [onerror], [onload], img[src=x], [href^=javascript]") == []
    assert all(page.select(f'[id^="{number}-"]') for number in ("01", "02", "03"))
