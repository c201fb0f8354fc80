"""What is installed: pyproject.toml holds the one list of packages, a reason beside each; environment.yml agrees with it."""

import re
import shlex
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from inside.files import ROOT

TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(TEXT)["project"]


def requirements() -> list[str]:
    """All dependencies of pyproject.toml, the optional ones too."""
    return [*PROJECT["dependencies"], *(line for group in PROJECT["optional-dependencies"].values() for line in group)]


def conda() -> tuple[dict, dict[str, str], list[str]]:
    """environment.yml, its packages {name: version}, and the lines that it hands to pip."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    named = [re.split("[=<>!~ ]+", line, maxsplit=1) for line in environment["dependencies"] if isinstance(line, str)]
    of_pip = [line for entry in environment["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
    return environment, {name: rest[0] if rest else "" for name, *rest in named}, of_pip


def test_the_conda_environment_is_that_of_the_project():
    environment, packages, of_pip = conda()
    assert environment["name"] == PROJECT["name"]
    assert packages["python"] in SpecifierSet(PROJECT["requires-python"]) and "pip" in packages
    assert [shlex.split(line) for line in of_pip if line.startswith("-")] in ([["--editable", "."]], [["-e", "."]])


def test_the_conda_environment_lists_no_package_of_its_own():
    _, packages, of_pip = conda()
    known = {canonicalize_name(Requirement(line).name) for line in requirements()}
    listed = {*packages, *(Requirement(line).name for line in of_pip if not line.startswith("-"))}
    assert {canonicalize_name(name) for name in listed} - known <= {"python", "pip"}


def test_every_dependency_has_a_reason_beside_it():
    lines = [line.strip() for line in TEXT.splitlines()]
    for requirement in requirements():
        beside = [line for line in lines if line.startswith(f'"{requirement}"')]
        assert beside and all(re.search(r'",\s+# \w.{3,}', line) for line in beside), f"{requirement} has no reason beside it"


def test_every_file_of_the_library_is_packaged():
    """An installed copy has the templates and the style of the report."""
    patterns = tomllib.loads(TEXT)["tool"]["setuptools"]["package-data"]["inside"]
    packaged = {file for pattern in patterns for file in (ROOT / "inside").glob(pattern)}
    others = {file for file in (ROOT / "inside").rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert {Path(file).name for file in others} >= {"page.html.j2", "page.css", "notebook.html.j2"} and others <= packaged
    assert all((folder / "__init__.py").is_file() for folder in {file.parent for file in (ROOT / "inside").rglob("*.py")})
