"""What of an executed notebook the page shows: no panels, parameters and versions once, method details folded away."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

REASONS = ("Left out: ", "No settings were searched in this run", "No networks were compared in this run", "Not measured: ",
           "There is no pair of networks to compare")  # how the one text of a section begins that has nothing in this run
ONCE = ("Parameters", "Browse")  # sections that the page has once, for the three notebooks, or that are for JupyterLab
OPEN_WORDS = 25  # so many words of a paragraph stand open, to the end of their sentence; as few behind them are not folded


@dataclass(frozen=True)
class Trimmed:
    """A notebook's cells for the page, and (heading, reason) of each section that has nothing in this run."""

    cells: list[NotebookNode]
    left_out: list[tuple[str, str]]


def trim(cells: Sequence[NotebookNode]) -> Trimmed:
    """The cells that the page shows, up to the first that failed."""
    kept: list[NotebookNode] = []
    left_out = []
    for section in _sections(_up_to_error(cells)):
        name, reason = _heading(section[0]), _nothing_here(section)
        if name in ONCE and not any(map(failed_with, section)):
            continue
        if reason:
            left_out.append((name, reason))
            continue
        kept += _with_code_above([_folded(cell) for cell in section if not _is_once(cell)])
    return Trimmed(kept, left_out)


def failed_with(cell: NotebookNode) -> NotebookNode | None:
    """The error output of a cell; None where it has none."""
    return next((output for output in cell.get("outputs", []) if output.output_type == "error"), None)


def _up_to_error(cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    own = [cell for cell in cells if "papermill-error-cell-tag" not in cell.metadata.get("tags", [])]
    ends = [number for number, cell in enumerate(own, 1) if failed_with(cell)]
    return own[:ends[0]] if ends else own


def _sections(cells: Sequence[NotebookNode]) -> Iterator[list[NotebookNode]]:
    """The cells from one heading to the next."""
    section: list[NotebookNode] = []
    for cell in _split_at_headings(cells):
        if section and _heading(cell):
            yield section
            section = []
        section.append(cell)
    if section:
        yield section


def _split_at_headings(cells: Sequence[NotebookNode]) -> Iterator[NotebookNode]:
    """The same cells, but that a Markdown cell has one heading at most, in its first line."""
    for cell in cells:
        parts = re.split(r"^(?=#{1,6} )", cell.source, flags=re.M) if cell.cell_type == "markdown" else []
        yield from (new_markdown_cell(part.strip()) for part in parts if part.strip()) if len(parts) > 1 else [cell]


def _heading(cell: NotebookNode) -> str:
    """The heading that a Markdown cell begins with; "" where it has none."""
    found = re.match(r"#+ +(.*)", cell.source) if cell.cell_type == "markdown" else None
    return found[1].strip() if found else ""


def _nothing_here(section: Sequence[NotebookNode]) -> str:
    """The reason why a section has nothing in this run: the one text that its code gives; "" where it has something."""
    outputs = [output for cell in section for output in cell.get("outputs", []) if output.get("name") != "stderr"]
    texts = {output.get("data", {}).get("text/plain", "") for output in outputs}
    text = texts.pop() if len(texts) == 1 else ""
    return text.strip() if text.startswith(REASONS) else ""


def _is_once(cell: NotebookNode) -> bool:
    """Whether the page has what a cell shows in one place for all notebooks, parameters, versions, results."""
    tags = cell.metadata.get("tags", [])
    return not failed_with(cell) and (
        "parameters" in tags or "injected-parameters" in tags or "helpers.environment()" in cell.source
        or "run.finish(" in cell.source)


def _folded(cell: NotebookNode) -> NotebookNode:
    """A Markdown cell that keeps its first sentences, with what follows folded away; others as they are."""
    if cell.cell_type != "markdown":
        return cell
    return _with_source(cell, _fold_part(re.split(r"\n\s*\n", cell.source.strip())))


def _fold_part(blocks: list[str]) -> str:
    """A heading with its first sentences, and the rest of its blocks in a fold that says what is in it."""
    first = 2 if blocks[0].startswith("#") and "\n" not in blocks[0] else 1
    if blocks[0].lstrip("# ").startswith("Exercises"):
        told = f"{len(re.findall(r'^[0-9]+[.] ', chr(10).join(blocks), flags=re.M))} exercises"
        return _fold(blocks[:1], told, "\n\n".join(blocks[1:]), kind="exercises")
    appendix = blocks[0].lstrip("# ").startswith("Appendix")
    while first < len(blocks) and not appendix and not blocks[first - 1].rstrip("*").endswith((".", "?", "!", ")", "|")):
        first += 1  # a formula or a list that the paragraph leads to
    opening, more = _opening(blocks[first - 1], 10 if appendix else OPEN_WORDS) if len(blocks) >= first else ("", "")
    rest = "\n\n".join([more] * bool(more) + blocks[first:])
    if not opening or len(rest.split()) <= OPEN_WORDS and not appendix:
        return "\n\n".join(blocks)
    words, formulas = len(rest.split()), rest.count("$$") // 2
    told = f"{words} words" + (f", {formulas} formula{'s' * (formulas > 1)}" if formulas else "")
    kind = "More about this notebook" if blocks[0].startswith("# ") else "How this works"
    return _fold([*blocks[:first - 1], opening], f"{kind} ({told})", rest)


def _opening(paragraph: str, words: int) -> tuple[str, str]:
    """The first sentences of a paragraph, of so many words or a few more, and the others; no bracket is cut in two."""
    if not re.match(r"[A-Z*`\[(“\"]", paragraph):
        return paragraph, ""
    for end in re.finditer(r"[.?!][*`”\"]*\s+(?=[A-Z*`\[(“])", paragraph):
        head, rest = paragraph[:end.end()].rstrip(), paragraph[end.end():]
        whole = not (head.count("**") % 2 or head.count("`") % 2 or head.count("(") > head.count(")") or head.count("$") % 2)
        if len(head.split()) >= words and whole:
            return head, rest
    return paragraph, ""


def _fold(above: Sequence[str], summary: str, folded: str, kind: str = "prose") -> str:
    return "\n\n".join([*above, f'<details class="fold {kind}"><summary>{summary}</summary>', folded, "</details>"])


def _with_code_above(section: list[NotebookNode]) -> list[NotebookNode]:
    """The cells of a section: its first one holds the code of all as metadata `code`, which the page has beside the heading.

    Without a heading, and where a cell failed, the code stays with its cells.
    """
    sources = [cell.source for cell in section if cell.cell_type == "code" and cell.source.strip()]
    if not sources or section[0].cell_type == "code" or failed_with(section[-1]):
        return section
    top, *others = (copy.deepcopy(cell) for cell in section)
    top.metadata["code"] = "\n\n".join(sources)
    for cell in others:
        cell.metadata["code_above"] = cell.cell_type == "code"
        cell.metadata["fold"] = cell.cell_type == "code" and _heading(top).startswith("Appendix") and _contents(cell)
    return [top, *others]


def _contents(cell: NotebookNode) -> str:
    """What a code cell shows, in words: 1 figure, 2 tables."""
    shown = "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)
    counts = {"figure": shown.count('<figure class="picture'), "table": shown.count('<figure class="table')}
    return ", ".join(f"{count} {noun}{'s' * (count > 1)}" for noun, count in counts.items() if count)


def _with_source(cell: NotebookNode, source: str) -> NotebookNode:
    other = copy.deepcopy(cell)
    other.source = source
    return other
