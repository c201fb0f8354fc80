"""The house keeps its measures: short files, short functions, a small helpers.py."""

import ast
import statistics
from pathlib import Path

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
