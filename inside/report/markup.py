"""The HTML of the articles, made fit for one page: anchors, headings, heads of tables, folds, smaller pictures."""

from __future__ import annotations

import base64
import html
import io
import re

from inside.pictures import open_picture

LONG = 12  # rows; longer tables are folded away
FOLDED = frozenset({  # tables of detail, folded away however short
    "modules", "hook_audit", "activations", "counted_twice", "trials", "convnet5", "convnet5_options", "image_sizes",
    "noise_band", "search_importance", "metrics_val", "03_scenarios", "randomisation_baselines", "non_positive_shares",
    "dead_channels", "effective_ranks", "found_again"})
FOLDED_FIGURES = frozenset({"cumulative_variance", "randomised_maps", "sample_predictions"})
_REGION = 'class="scroll" tabindex="0" role="group"'


def fold_shown(output: str) -> str:
    """A table or figure of `Run.show`, folded away where it is long or a matter of detail; other HTML as it is."""
    found = re.match(r'\s*<figure class="[^"]*" id="(figure|table)-([^"]*)">.*?<figcaption>(.*?)</figcaption>', output,
                     flags=re.S)
    rows = len(re.findall(r"<tr\b", output)) - 1
    if not found or not (rows > LONG or html.unescape(found[2]) in (FOLDED if found[1] == "table" else FOLDED_FIGURES)):
        return output
    number, claim = re.findall(r"<b>(.*?)\.?</b>(.*)", found[3], flags=re.S)[0]
    caption = re.sub(r"<[^>]*>", "", re.split(r"[\d,]+ of [\d,]+ rows; all as |<a download", claim)[0]).strip()
    told = re.split(r"(?<=[.:;]) ", caption)[0].rstrip(".:;") or found[2].lstrip("0123456789").replace("_", " ").strip()
    length = f" ({rows} row{'s' * (rows != 1)})" if found[1] == "table" else ""
    return f'<details class="fold"><summary>{number} · {told}{length}</summary>{output}</details>'


def fold_source(source: str, rendered: str) -> str:
    """Source that a notebook shows, folded away under the name of the function; other Markdown as it is rendered."""
    if not source.startswith("```python"):
        return rendered
    name = re.search(r"^(?:def|class) (\w+)", source, flags=re.M)
    lines = len(source.strip().splitlines()) - 2
    told = f"Source of <code>{name[1]}</code>" if name else "Source"
    return f'<details class="fold source"><summary>{told} ({lines} lines)</summary>{rendered}</details>'


def number_anchors(body: str, number: str) -> str:
    """Anchors of headings begin with the notebook's number, and headings stand a step lower: the page has one h1."""
    body = re.sub(r'(<h[1-6] id="|href="#(?!figure-|table-))', rf"\g<1>{number}-", body)
    return re.sub(r"(</?h)([1-5])\b", lambda found: f"{found[1]}{int(found[2]) + 1}", body)


def code_behind_heading(body: str) -> str:
    """The code of a section stands behind its heading, not before it."""
    code = r'(<details class="code beside">(?:(?!</details>).)*</details>)'
    return re.sub(code + r"((?:\s|<div\b[^>]*>)*)(<h[1-6]\b.*?</h[1-6]>)", r"\2\3\1", body, flags=re.S)


def accessible(body: str) -> str:
    """Scopes of table heads; tables and formulas that scroll in themselves, with a name and in reach of the keyboard."""
    body = re.sub(r"<th\b(?![^>]*\bscope=)", '<th scope="col"', body)
    body = re.sub(r"(?<!>)(<table>.*?</table>)", rf'<div {_REGION} aria-label="Table">\1</div>', body, flags=re.S)
    return re.sub(r'(<math\b[^>]*display="block".*?</math>)', rf'<div {_REGION} aria-label="Formula">\1</div>', body,
                  flags=re.S)


def unique_ids(page: str) -> str:
    """No id twice: the later ones get a number."""
    seen: dict[str, int] = {}

    def numbered(found: re.Match) -> str:
        seen[found[2]] = seen.get(found[2], 0) + 1
        return f'{found[1]}{found[2]}{f"-{seen[found[2]]}" * (seen[found[2]] > 1)}"'
    return re.sub(r'(<[^<>]*?\sid=")([^"]*)"', numbered, page)


def places(body: str) -> dict[str, str]:
    """{anchor: what a link to it says} of all figures, tables and headings."""
    found = {anchor: label for anchor, label in re.findall(
        r'id="((?:figure|table)-[^"]*)">.*?<figcaption><b>((?:Figure|Table) [\d.]+?)\.?</b>', body, flags=re.S)}
    heads = re.findall(r'<h[2-5] id="([^"]*)">(.*?)(?:<a class="anchor-link"|</h)', body, flags=re.S)
    return found | {anchor: _short(re.sub("<[^>]*>", "", title)) for anchor, title in heads}


def _short(title: str) -> str:
    """What a link to a section says: Section 2, Appendix D."""
    first = title.split(" · ")[0]
    return f"Section {first}" if first.isdecimal() else first


def without_dead_links(page: str) -> str:
    """Links to anchors that this page does not have become their text."""
    ids = set(re.findall(r'\sid="([^"]*)"', page))
    return re.sub(r'<a href="#([^"]*)">(.*?)</a>', lambda link: link[0] if link[1] in ids else link[2], page, flags=re.S)


def smaller_pictures(body: str) -> str:
    """Pictures as WebP: without loss, or with a little where that is less than half as large, as with photographs."""
    def smaller(found: re.Match) -> str:
        picture = base64.b64decode(found[1])
        packed = min((picture, webp(picture)), key=len)
        return _address(packed)
    return re.sub(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=\s]*)", smaller, body)


def thumbnail(picture: bytes, width: int = 400) -> str:
    """A small version of a picture, as the address of an image."""
    image = open_picture(io.BytesIO(picture)).convert("RGB")
    image.thumbnail((width, width))
    kept = io.BytesIO()
    image.save(kept, "WEBP", quality=80)
    return _address(kept.getvalue())


def webp(picture: bytes) -> bytes:
    """A picture as WebP: without loss, unless 85% quality is less than half as large, or it has been a JPEG."""
    opened, lossy, whole = open_picture(io.BytesIO(picture)), io.BytesIO(), io.BytesIO()
    image = opened.convert("RGB")
    image.save(lossy, "WEBP", quality=85)
    if opened.format != "JPEG":
        image.save(whole, "WEBP", lossless=True, quality=40, method=3)
    return whole.getvalue() if 0 < whole.tell() <= 2 * lossy.tell() else lossy.getvalue()


def _address(picture: bytes) -> str:
    kind = "webp" if picture[8:12] == b"WEBP" else "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
