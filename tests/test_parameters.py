"""Every parameter of the table with every kind of wrong value, by each way in which a value comes; generated, so that a new one is covered."""

import ast
import json
import os
import re
import subprocess
import sys
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as some
from papermill.translators import PythonTranslator

from inside.cli.main import command_parser, main
from inside.cli.profiles import default_parameters, given_parameters, notebook_parameters, notebooks
from inside.files import ROOT
from inside.legal import Flag, ListOf, Literal, Number, Whole, Word, Written
from inside.settings import PARAMETERS, check_parameters, parameter_problems
from inside.text import brief, errors_of, raise_all


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


VALUES = {
    "none": None, "true": True, "false": False, "zero": 0, "one": 1, "negative": -1, "one half": 0.5, "whole float": 3.0, "nan": float("nan"),
    "infinity": float("inf"), "minus infinity": float("-inf"), "huge": 10**30, "thousands of digits": 10**5000, "huge float": 1e300, "tiny": 1e-300,
    "text": "no such thing", "number as text": "3", "empty": "", "space": " ", "1 MB": "x" * 10**6, "null character": "a/\0", "line break": "a/b\nc",
    "no Unicode": "a/\udcff", "list": [], "list of one": [1], "list of flags": [True, True, True], "huge counts": [10**30] * 3, "nan parts": [float("nan")] * 3,
    "mixed parts": [10**400, 0.5, 0.2], "long list": ["x"] * 10**5, "nested": nested(5000), "dictionary": {}, "dictionary of none": {None: None}, "bytes": b"3",
    "set": {1}, "complex": 1j, "object": object()}
TABLE = [pytest.param(parameter, id=name) for name, parameter in PARAMETERS.items()]
DEFAULTS = {book.stem: notebook_parameters(book) for book in notebooks()}


def told_legal(parameter, value):
    """Whether a value is what the words of the table promise; None where the words leave it to a check of its own."""
    number, legal = type(value) in (int, float), parameter.legal.removeprefix('"auto" or ')
    if legal != parameter.legal and type(value) is str and value == "auto":
        return True
    if found := re.fullmatch(r"a whole number from (\S+) to (\S+)", legal):
        return type(value) is int and int(found[1]) <= value <= int(found[2])
    if found := re.fullmatch(r"a number from (\S+) to (\S+)", parameter.legal):
        return number and float(found[1]) <= value <= float(found[2])
    if legal == "True or False":
        return value is True or value is False
    if re.fullmatch(r'("\w+"(, )?)+', parameter.legal):
        return type(value) is str and value in json.loads(f"[{parameter.legal}]")
    return None


def check_told(parameter, value, problems):
    """A refusal names the parameter and what is valid, in one short line; a value that is accepted is one that the table promises."""
    legal = told_legal(parameter, value)
    if not problems:
        containers = {Literal: (list, tuple, dict), ListOf: (list, tuple), Written: (str,)}
        assert legal or legal is None and isinstance(value, containers[type(parameter.kinds[0])])
        assert not isinstance(value, str) or len(value) <= 1000 and value.isprintable()
        return
    (told,) = problems
    assert not legal and re.match(rf"{parameter.name} (=|names) ", told) and re.search("it takes |did you mean|choose from", told)
    assert len(told) < 900 and "\n" not in told and "object at 0x" not in told.split(":")[-1]


@pytest.mark.parametrize("parameter", TABLE)
def test_each_wrong_value_is_refused_in_one_sentence(parameter):
    for value in VALUES.values():
        start = time.process_time()
        problems = parameter_problems({parameter.name: value, "OTHER": object()})
        check_told(parameter, value, problems)
        assert time.process_time() - start < 1


@pytest.mark.parametrize("parameter", TABLE)
def test_the_command_line_refuses_the_same(parameter):
    texts = {repr(value) for name, value in VALUES.items() if name not in ("thousands of digits", "nested", "object", "1 MB")}
    texts |= {"", "x" * 10**6, "[" * 10**4, "{{}}", "1:30", "010", ".nan", ".inf", "1e400", "0x" + "f" * 5000, "&a [*a]", "!!python/object:os.system {}"}
    options = command_parser().parse_args(["demo"])
    for text in texts:
        start, value = time.process_time(), parameter.parse(text)
        options.p = [[parameter.name, text]]  # as argparse gives them, but for words such as -inf, which it takes for an option
        problems = errors_of(given_parameters, options)
        check_told(parameter, value, problems)
        assert time.process_time() - start < 1


@pytest.mark.parametrize("parameter", TABLE)
def test_profiles_and_papermill_refuse_the_same(parameter, tmp_path):
    """Both can carry what YAML can; papermill writes it into a cell, which the kernel runs."""
    plain = [value for name, value in VALUES.items() if name not in (
        "bytes", "set", "complex", "object", "nested", "thousands of digits", "1 MB", "long list", "no Unicode", "null character")]
    for value in plain:
        profile = tmp_path / "profile.yaml"
        profile.write_text(yaml.safe_dump({parameter.name: value}))
        check_told(parameter, value, errors_of(given_parameters, command_parser().parse_args([str(profile)])))
        cell = {}
        exec(PythonTranslator.codify({parameter.name: value}), cell)
        check_told(parameter, value, parameter_problems(cell))


def test_all_that_is_wrong_is_told_at_once(capsys):
    words = "demo -p EPOCHS 0 -p EPOCS 3 -p OPTIMIZER adamm --only 07 -p SPLIT [1] -p BATCHSIZE 3".split()
    assert main(words) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert told[0] == "error: 6 things are wrong:" and len(told) == 7
    assert [re.search("'EPOCS'|'BATCHSIZE'|--only 07|EPOCHS = 0|OPTIMIZER = 'adamm'|SPLIT = ", line)[0] for line in told[1:]] == [
        "'EPOCS'", "'BATCHSIZE'", "--only 07", "SPLIT = ", "EPOCHS = 0", "OPTIMIZER = 'adamm'"]
    assert main(["dmo", "-p", "EPOCHS", "0"]) == 2 and len(capsys.readouterr().err.strip().splitlines()) == 3


def test_one_error_is_one_line_and_very_many_are_counted():
    with pytest.raises(ValueError, match="^a$"):
        raise_all(["a", "a"])
    with pytest.raises(ValueError) as error:
        raise_all(map(str, range(1000)))
    assert str(error.value).startswith("1000 things are wrong:\n- 0\n- 1\n") and str(error.value).endswith("\n- and 980 more")
    raise_all([])


def test_values_in_messages_are_short():
    bomb = "x"
    for _ in range(40):
        bomb = [bomb] * 9
    assert all(len(brief(value)) < 320 for value in [*VALUES.values(), bomb, nested(10**5)])
    assert brief([0.7, 0.15, "a", {"b": None}]) == "[0.7, 0.15, 'a', {'b': None}]"


def test_legal_text_is_not_refused():
    check_parameters({"RUN": "Läufe/ein Lauf 🌊", "DATASET": "~/Bilder/Übung 1", "STUDY_STORAGE": "", "NEURON_LAYER": ""})
    for run in ("", ".", "..", "a b", "x" * 1001):
        with pytest.raises(ValueError, match="^RUN = "):
            check_parameters({"RUN": run})


# what is legal, by kind; a parameter of a kind that is not here fails
DRAWN = {
    Whole: lambda kind: some.integers(kind.low, kind.high), Number: lambda kind: some.floats(kind.low, kind.high), Flag: lambda kind: some.booleans(),
    Word: lambda kind: some.sampled_from(kind.words),
    ListOf: lambda kind: some.lists({str: some.text(max_size=20), int: some.integers(-2**31, 2**31)}[kind.entry], max_size=4)}


@pytest.mark.parametrize("parameter", TABLE)
@budget(max_examples=25)
@given(data=some.data())
def test_legal_values_survive_yaml_papermill_and_the_command_line(parameter, data):
    kind = parameter.kinds[0]
    default = next(book[parameter.name] for book in DEFAULTS.values() if parameter.name in book)
    value = default if type(kind) in (Literal, Written) else data.draw(DRAWN[type(kind)](kind))
    check_parameters({parameter.name: value})
    cell = {}
    exec(PythonTranslator.codify({parameter.name: value}), cell)
    ways = {"YAML": yaml.safe_load(yaml.safe_dump({parameter.name: value}))[parameter.name], "papermill": cell[parameter.name],
            "command line": parameter.parse(value if isinstance(value, str) else repr(value)), "JSON": parameter.parse(json.dumps(value))
            if not isinstance(value, str) else value, "cell": ast.literal_eval(repr(value))}
    assert all(found == value and type(found) is type(value) for found in ways.values()), ways


def test_all_defaults_are_legal_together():
    assert parameter_problems(default_parameters()) == [] and set(default_parameters()) == set(PARAMETERS)


def test_what_a_pipe_cannot_take_is_escaped():
    """As on Windows, where a pipe has an old code page: − and × are not in it."""
    told = subprocess.run([sys.executable, str(ROOT / "run.py"), "--parameters"], env=os.environ | {"PYTHONIOENCODING": "ascii"},
                          capture_output=True, text=True)
    assert told.returncode == 0 and "\\xd7" in told.stdout and not told.stderr
