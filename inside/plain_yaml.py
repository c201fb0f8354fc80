"""Profiles and values are plain data: YAML without tags, without aliases (which can explode), each key once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

LARGEST = 100_000  # bytes of a profile


class _PlainLoader(yaml.SafeLoader):
    """A SafeLoader that takes neither aliases nor a key twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, f"the alias *{event.anchor} is not allowed: write the value out",
                                              event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen if isinstance(key.value, str) else True:
                problem = f"{key.value} is given twice" if isinstance(key.value, str) else "a key is not a word"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """What YAML text holds. Raises yaml.YAMLError, ValueError or RecursionError where it is no plain data."""
    return yaml.load(text, _PlainLoader)  # no tag but YAML's own, see SafeLoader


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; None where it is empty. ValueError, in one sentence, where it is no plain data."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"The profile {path} has {path.stat().st_size:,} bytes, more than the {LARGEST:,} that a profile "
                         "may have: is it another file?")
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        problem = "it is not UTF-8 text"
    except RecursionError:
        problem = "it is nested too deeply"
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = line + str(error.problem).replace("could not determine a constructor for the tag", "there is no tag")
    except (yaml.YAMLError, ValueError) as error:  # a sign that is not allowed, a date or a number that is none
        problem = str(error).splitlines()[0].partition("; use sys.")[0]
    raise ValueError(f"The profile {path} cannot be read: {problem}.")
