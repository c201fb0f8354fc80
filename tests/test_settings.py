"""Tests of inside/settings.py and inside/legal.py."""

import subprocess
import sys

import pytest

from inside.cli.commands import COMMANDS
from inside.cli.main import command_parser, main
from inside.cli.profiles import notebook_parameters, notebooks
from inside.files import ROOT
from inside.models.build import build_network, check_architecture
from inside.settings import PARAMETERS, THEMES, check_parameters, parameters_where, split_seed, unknown_problems

TABLE = [parameter.name for parameters in THEMES.values() for parameter in parameters]


@pytest.mark.parametrize("name, value, message", [
    ("EPOCHS", 0, "a whole number from 1 to 10000"), ("EPOCHS", 2.5, "a whole number from 1 to 10000"), ("EPOCHS", True, "a whole number from 1 to 10000"), ("EPOCHS", "5", "a whole number from 1 to 10000"),
    ("OPTIMIZER", "adamm", "did you mean 'adam'"), ("LEARNING_RATE", -1, "a number from"), ("TRAIN", 1, "True or False"),
    ("SPLIT", [0.5, 0.5], "three fractions"), ("STRATEGY", "heads", "did you mean 'head'"), ("RANKED_CLASSES", "sea", "list"),
    ("LAYERS", ["conv1", 2], "a list of module names"), ("NEURONS", [True], "a list of channels"), ("SPLIT", "0.7", "three fractions"),
    ("LEARNING_RATE", float("nan"), "a number from"), ("TRACKERS", "wandb", "a list of"), ("WARMUP", 0.95, "a number from"),
])
def test_illegal_parameters(name, value, message):
    with pytest.raises(ValueError, match=message) as error:
        check_parameters({name: value})
    assert "\n" not in str(error.value)


def test_legal_parameters_are_given_back():
    given = {"EPOCHS": 3, "LEARNING_RATE": 1, "SPLIT": [10, 5, 5], "STRATEGY": "from_layer:layer4", "TRAIN": False}
    assert check_parameters(given | {"_i1": 0, "EPOCH": 9}) == given


@pytest.mark.parametrize("name, heads", [
    ("deit_tiny_distilled_patch16_224", "head, head_dist"), ("levit_128", "head.linear, head_dist.linear"), ("crossvit_9_240", "head.0, head.1"),
    ("volo_d1_224", "head, aux_head")])
def test_networks_with_several_heads_are_refused(name, heads):
    """Their last layer alone does not give the logits, so that a new head, or training it alone, would be about another function."""
    with pytest.raises(ValueError, match=rf"ARCHITECTURE = 'timm/{name}' has several heads \({heads}\)") as error:
        check_architecture(f"timm/{name}")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="several heads"):
        build_network(f"timm/{name}", 3, weights="random")


@pytest.mark.parametrize("head", ["mlp", "mlp:0", "mlp:10:1.5", "linear:3", 5, "mlp:10:0.3:1"])
def test_heads_that_are_not_legal(head):
    with pytest.raises(ValueError, match='"linear", or .*"mlp:<width>:<dropout>"'):
        check_parameters({"HEAD": head})


@pytest.mark.parametrize("empty", ["", " "])
def test_a_data_set_has_a_name(empty):
    with pytest.raises(ValueError, match=r"^DATASET = ' ?' is not valid, because it is empty: it takes \"demo\", .* a folder\.$"):
        check_parameters({"DATASET": empty})


def test_the_table_is_that_of_the_notebooks():
    """Each notebook declares the parameters that the table says it has, with the comments of the table, and no others."""
    for book in notebooks():
        declared = notebook_parameters(book)
        assert set(declared) == {name for name, parameter in PARAMETERS.items() if book.name[1] in parameter.notebooks}
        check_parameters(declared)
        for name, line in parameter_lines(book).items():
            assert line.split("  # ")[1] == PARAMETERS[name].comment
    assert len(TABLE) == len(set(TABLE)) == len(PARAMETERS)


def test_what_everyone_changes_stands_first_then_the_rest_by_theme():
    for book in notebooks():
        names = list(parameter_lines(book))
        assert names[:2] == ["RUN", "DATASET"] and names[8:] == sorted(names[8:], key=TABLE.index)


def parameter_lines(book):
    """{name: line} of the parameters cell of a notebook."""
    import nbformat
    cell = next(cell for cell in nbformat.read(book, as_version=4).cells if "parameters" in cell.metadata.get("tags", []))
    return {line.split(" = ")[0]: line for line in cell.source.splitlines() if not line.startswith("#")}


def test_the_split_has_a_seed_of_its_own_where_one_is_given():
    assert split_seed({"SEED": 7, "SPLIT_SEED": "auto"}) == 7 and split_seed({"SEED": 7, "SPLIT_SEED": 0}) == 0
    for wrong in ("Auto", -1, 1.0, True, None):
        with pytest.raises(ValueError, match="^SPLIT_SEED = "):
            check_parameters({"SPLIT_SEED": wrong})


def test_what_searches_and_comparisons_may_change_bears_on_training():
    assert set(parameters_where(searchable=True)) < set(parameters_where(comparable=True)) < set(parameters_where(trains=True))
    assert set(parameters_where(pretrained=True)) == {"WEIGHTS", "HEAD", "STRATEGY", "HEAD_EPOCHS", "BACKBONE_FACTOR"}
    assert all("1" in PARAMETERS[name].notebooks for name in parameters_where(trains=True))


def test_the_printed_table_holds_all_and_fits_a_terminal(capsys):
    assert main(["--parameters"]) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 118
    assert all(f"\n{name} " in told and " ".join(PARAMETERS[name].comment.split()) in " ".join(told.split()) for name in PARAMETERS)


@pytest.mark.parametrize("name, text, value", [
    ("LEARNING_RATE", "1e-3", 0.001), ("RUN", "5", "5"), ("TRAIN", "false", False), ("SPLIT", "[10, 2, 2]", [10, 2, 2]), ("EPOCHS", "3", 3),
    ("LAYERS", "[layer1.0.conv1, layer2]", ["layer1.0.conv1", "layer2"]), ("COMPARE", "[{'EPOCHS': 1}]", [{"EPOCHS": 1}]),
    ("BATCH_NORM", "frozen", "frozen"), ("EPOCHS", "three", "three"), ("HEAD", "mlp:8:0.5", "mlp:8:0.5"), ("SEARCH_SPACE", "{lr: [1, 2", "{lr: [1, 2"),
    ("COMPARE", "[&a {EPOCHS: 1}, *a]", "[&a {EPOCHS: 1}, *a]")])  # no aliases: they can explode
def test_values_from_the_command_line(name, text, value):
    parsed = PARAMETERS[name].parse(text)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize("namespace, before, message", [
    ({"EPOCS": 3}, None, "'EPOCS': did you mean 'EPOCHS'"), ({"epochs": 3}, None, "'epochs': did you mean 'EPOCHS'"),
    ({"BatchSize": 3}, None, "did you mean 'BATCH_SIZE'"), ({"MINE": {"a": [1, None]}}, None, "No notebook has a parameter 'MINE'"),
    ({"EPOCS": 3}, ["EPOCHS"], "did you mean 'EPOCHS'"), ({"SEEDS": [1]}, [], "did you mean"),
])
def test_unknown_names_in_a_notebook(namespace, before, message):
    (told,) = unknown_problems({"EPOCHS": 5} | namespace, before)
    assert message in told and "\n" not in told


@pytest.mark.parametrize("namespace, before", [
    ({"EPOCHS": 3, "TOP_K": 5, "_EPOCS": 1, "In": [""], "time": sys, "SEEDED": object(), "rate": 0.1}, None),
    ({"EPOCS": 3}, ["EPOCS"]), ({"layers": ["a"], "seed": 1, "MINE": 3}, []), ({"SEEDS": print}, [])])
def test_names_that_are_a_readers_own(namespace, before):
    assert unknown_problems(namespace, before) == []


@pytest.mark.parametrize("words, status, told", [
    (["demo", "-p", "EPOCS", "3"], 2, "did you mean 'EPOCHS'"), (["demo", "-p", "EPOCHS", "0"], 2, "a whole number from 1"), (["dmo"], 2, "'demo'"),
    (["demo", "--only", "4"], 2, "choose from 01, 02, 03"), (["--help"], 0, "--parameters"), (["--parameters"], 0, "BATCH_SIZE")])
def test_a_wrong_word_is_answered_before_anything_heavy_is_loaded(words, status, told):
    code = (f"import sys\nfrom inside.cli.main import main\ntry:\n    status = main({words})\nexcept SystemExit as end:\n    status = end.code\n"
            "heavy = {'torch', 'optuna', 'numpy', 'pandas', 'IPython', 'papermill', 'matplotlib'} & set(sys.modules)\n"
            "sys.exit(f'loaded: {heavy}' if heavy else status)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status and told in done.stdout + done.stderr


def test_the_help_fits_one_screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = command_parser().format_help().splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert all(sum(line.startswith(f"  {name} ") for line in lines) == 1 for name in COMMANDS)
