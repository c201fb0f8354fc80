"""The pages of comparisons, checks and predictions: self-contained HTML in the look of the report."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from inside.files import atomic_write
from inside.report import article, markup


def write_page(target: Path, template: Path, **values: object) -> Path:
    """Fill a template, which may include those of the report; all values are escaped. The path of the page is returned."""
    loader = FileSystemLoader([template.parent, Path(article.__file__).parent])
    page = Environment(loader=loader, autoescape=True).get_template(template.name).render(values)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as temporary:
        temporary.write_text(markup.smaller_pictures(markup.unique_ids(page)), encoding="utf-8")
    return target
