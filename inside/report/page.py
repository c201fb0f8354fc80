"""The executed notebooks as one self-contained HTML page."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from latex2mathml.converter import convert as to_mathml
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from pygments.formatters import HtmlFormatter

from inside.files import atomic_write

TEMPLATE = """
{%- extends 'classic/base.html.j2' -%}
{%- block codecell scoped -%}<section class="cell">{{ super() }}</section>{%- endblock -%}
{%- block in_prompt -%}{%- endblock -%}
{%- block input -%}
{%- set tags = cell.metadata.get("tags", []) -%}
<details class="code"{% if "injected-parameters" in tags %} open{% endif %}>
{%- set names = {"parameters": "code: the defaults", "injected-parameters": "code: the parameters of this run"} -%}
<summary>{{ names.get(tags[0], "code") if tags else "code" }}</summary>
{{ cell.source | highlight_code(metadata=cell.metadata) }}</details>
{%- endblock -%}
{%- block output_area_prompt -%}{%- endblock -%}
{%- block empty_in_prompt -%}{%- endblock -%}
{%- block stream_stderr -%}{%- endblock -%}
{%- block data_widget_view -%}{%- endblock -%}
"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><header><h1>{title}</h1><p>{about}</p>{note}</header><nav><h2>Contents</h2>{contents}</nav>
<main>{body}</main></body></html>
"""
STYLE = """
body{font:16px/1.55 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;color:#1d1d1f;
margin:0 auto;max-width:1080px;padding:1.5rem 1.5rem 6rem}
h1{font-size:2rem;line-height:1.2;margin:2.5rem 0 .6rem}
h2{font-size:1.4rem;margin:2.2rem 0 .5rem;border-top:1px solid #ddd;padding-top:1.2rem}
h3{font-size:1.1rem}nav h2{border:0;padding:0;margin-top:1rem}nav ul{margin:.2rem 0;padding-left:1.3rem}
nav{background:#f6f7f9;border-radius:8px;padding:.4rem 1.2rem 1rem;columns:2;column-gap:3rem}nav h2{column-span:all}
nav ul ul{font-size:.93rem}nav li{break-inside:avoid}main>article+article{border-top:4px solid #1d1d1f;margin-top:4rem}
a{color:#0b5cad}.anchor-link{visibility:hidden;text-decoration:none;margin-left:.3em}
h2:hover .anchor-link{visibility:visible}
img{max-width:100%;height:auto;display:block;margin:.6rem 0}
.note{background:#fff4d6;border-left:4px solid #e69f00;padding:.5rem 1rem;margin:.8rem 0}
details.code{margin:.3rem 0}details.code>summary{cursor:pointer;color:#70757c;font-size:.8rem;user-select:none}
pre{font:13px/1.45 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-x:auto;margin:.3rem 0;
padding:.6rem .8rem;background:#f6f7f9;border-radius:6px}
.output_stream pre,.output_text pre{background:none;padding:.2rem 0;white-space:pre-wrap}
.output_error pre{background:#fdecea}
.output_html{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem;margin:.6rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .8rem;text-align:left;border-bottom:1px solid #e4e6ea}thead th{border-bottom:2px solid #9aa0a6}
table.numbers td{text-align:right}table.numbers td:first-child,table.numbers th:first-child{text-align:left}
table.numbers th{text-align:right}math{font-size:1.05em}math[display=block]{margin:.7rem 0}
code{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.9em}
@media print{details.code{display:none}nav{display:none}img{break-inside:avoid}}
@media(max-width:700px){nav{columns:1}}
"""


class _MathRenderer(IPythonRenderer):
    """Markdown with formulas as MathML, which browsers draw without a script."""

    def block_math(self, body: str) -> str:
        return to_mathml(body, display="block")

    def inline_math(self, body: str) -> str:
        return to_mathml(body)


def _markdown(source: str) -> str:
    return MarkdownWithMath(renderer=_MathRenderer(escape=False)).render(source)


def export_report(notebooks: Sequence[Path], target: Path) -> Path:
    """Write the executed notebooks as one self-contained HTML page; raises ValueError if it would load anything."""
    exporter = HTMLExporter(template_file="report.html.j2", extra_loaders=[DictLoader({"report.html.j2": TEMPLATE})],
                            filters={"markdown2html": _markdown}, preprocessors=[CoalesceStreamsPreprocessor(enabled=True)])
    bodies, contents = [], []
    for path in notebooks:
        body, _ = exporter.from_notebook_node(nbformat.read(path, as_version=4))
        number = path.name[:2]
        body = re.sub(r'(<h[123] id="|href="#)', rf"\g<1>{number}-", body)  # headings of the three must not share a name
        headings = re.findall(r'<h([12]) id="([^"]*)">(.*?)<a class="anchor-link"', body)
        top = next(((name, text) for level, name, text in headings if level == "1"), (f"{number}-", path.stem))
        items = "".join(f'<li><a href="#{name}">{text}</a></li>' for level, name, text in headings if level == "2")
        contents.append(f'<li><a href="#{top[0]}">{top[1]}</a><ul>{items}</ul></li>')
        bodies.append(f"<article>{body}</article>")
    about, note = _about(target.parent)
    page = PAGE.format(title="Inside an image classifier", about=about, note=note, contents=f"<ul>{''.join(contents)}</ul>",
                       style=STYLE + HtmlFormatter().get_style_defs(".highlight"), body="".join(bodies))
    outside = outside_requests(page)
    if outside:
        raise ValueError(f"The report would load {outside[0]} from elsewhere: show pictures with show_figure instead.")
    with atomic_write(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _about(folder: Path) -> tuple[str, str]:
    """The line under the report's title, and the note that the images are drawn where they are."""
    file = folder / "01_results.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    about = f"Run “{folder.name}”, {date.today():%d %B %Y}. "
    if results:
        about += f"{results['architecture']} on {results['n_images']:,} images ({results['dataset']}). "
    note = '<p class="note">The images of this run are <b>drawn</b> by the project, not photographs: its numbers tell ' \
        "how the notebooks work, not how well a network reads photographs.</p>" if results.get("drawn") else ""
    return about + "The code of each step is folded away under “code”.", note


def outside_requests(page: str) -> list[str]:
    """What a browser would fetch when it opens the page: addresses of scripts, styles, pictures, frames, fonts."""
    page = re.sub(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]*", "data:", page)
    tags = "script|img|iframe|link|source|video|audio|object|embed"
    loads = re.findall(rf"<(?:{tags})\b[^>]*?\b(?:src|href|data)\s*=\s*[\"']?([^\"'\s>]*)", page)
    loads += re.findall(r"(?:@import\s+(?:url\()?|url\()\s*[\"']?([^\"')\s;]+)", page)
    loads += re.findall(r"<script\b[^>]*>", page)
    return [address for address in loads if not address.startswith(("data:", "#"))]
