"""The house keeps its measures: short files, short functions, a small helpers.py."""

import ast
import re
import statistics
from pathlib import Path

import pytest

from inside.files import ROOT

FILES = sorted((ROOT / "inside").rglob("*.py"))


def function_lengths(file: Path) -> dict[str, int]:
    """{file, line and name: lines} of the functions and methods of a file, those inside functions too; decorators not counted."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {f"{file.relative_to(ROOT)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1 for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_files_are_short():
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert len(lengths) > 50 and {name: lines for name, lines in lengths.items() if lines > 300} == {}
    assert len((ROOT / "helpers.py").read_text(encoding="utf-8").splitlines()) <= 180


def test_functions_are_short():
    lengths = {name: lines for file in (*FILES, ROOT / "helpers.py", ROOT / "run.py") for name, lines in function_lengths(file).items()}
    assert len(lengths) > 500 and {name: lines for name, lines in lengths.items() if lines > 40} == {}
    assert statistics.median(lengths.values()) <= 15


@pytest.mark.parametrize("page", ["README.md", ".github/CONTRIBUTING.md"])
def test_links_of_the_pages_resolve(page):
    page = ROOT / page
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    inner = [link for link in links if "://" not in link]
    assert len(inner) > 10 and [link for link in inner if not (page.parent / link).exists()] == []


def test_percentages_are_written_in_one_way():
    """95%, without a space, in sentences, pages and notebooks, as numbers are formatted by `percent`."""
    pages = [*FILES, *(ROOT / "notebooks").rglob("*.ipynb"), ROOT / "README.md", ROOT / ".github/CONTRIBUTING.md"]
    spaced = re.compile(r"(?:\d|(?<!\{part)\})[ \u00a0\u202f]%")  # but for the columns "train %", "val %" and "test %"
    assert {page.name: spaced.findall(page.read_text(encoding="utf-8")) for page in pages
            if spaced.search(page.read_text(encoding="utf-8"))} == {}


def test_no_date_is_written_in_a_way_that_windows_does_not_know():
    assert [path for path in ROOT.rglob("inside/**/*.py") if re.search(r"%-[dmHIMSj]", path.read_text(encoding="utf-8").replace("# %-d is", ""))] == []


def test_no_picture_is_opened_by_what_runs_programs():
    """PIL.Image.open takes EPS, which is a program, whatever a file is called: `inside.pictures.open_picture` does not."""
    found = [path.name for path in ROOT.rglob("inside/**/*.py") if "Image.open(" in path.read_text(encoding="utf-8")]
    assert set(found) == {"pictures.py", "page.py", "run.py"}  # the last two open figures that this process, or its kernel, has drawn


def test_what_the_guide_names_is_there():
    """The worked examples of CONTRIBUTING name tests, and names of the code in the file that is linked before them."""
    guide = (ROOT / ".github/CONTRIBUTING.md").read_text(encoding="utf-8")
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py"))
    named = re.findall(r"`(test_\w+)`", guide)
    assert len(named) >= 3 and [name for name in named if f"def {name}(" not in tests] == []
    makes = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}: " in makes for target in re.findall(r"\bmake ([a-z]+)", guide))
    for file, name in (("names", "DATASETS"), ("data/sources", "_NAMED"), ("models/build", "PACKAGED"), ("models/scratch", "NETWORKS"),
                       ("settings", "_learnt"), ("training/recipe", "Recipe"), ("files", "require_reachable")):
        assert f"`{name}`" in guide and re.search(rf"\b{name}\b", (ROOT / "inside" / f"{file}.py").read_text(encoding="utf-8"))
    assert "`EFFECTS`" in guide and "\nEFFECTS = " in (ROOT / "tests/shared/effects.py").read_text(encoding="utf-8")
