"""JSON, YAML and TOML as plain values, to be compared; what is written back is never made from them."""

import json
from typing import TypeAlias

import tomlkit
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from tomlkit.exceptions import TOMLKitError

from gradcheck.errors import TargetError

Value: TypeAlias = "dict[str, Value] | list[Value] | str | int | float | bool | None"


def parsed_json(text: str) -> Value:
    """What ``text`` says as JSON.

    Raises:
        TargetError: where it is no valid JSON.
    """
    try:
        data: Value = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise TargetError(f"the file is no valid JSON: {error}; correct it first") from error
    return data


def parsed_yaml(text: str) -> Value:
    """What ``text`` says as YAML, its documents in a list.

    Raises:
        TargetError: where it is no valid YAML.
    """
    try:
        documents = list(YAML(typ="rt", pure=True).load_all(text))
    except (YAMLError, ValueError, RecursionError) as error:
        first = " ".join(str(error).split())[:200]
        raise TargetError(f"the file is no valid YAML: {first}; correct it first") from error
    return [_plain(document) for document in documents]


def parsed_toml(text: str) -> Value:
    """What ``text`` says as TOML.

    Raises:
        TargetError: where it is no valid TOML.
    """
    try:
        return _plain(tomlkit.parse(text.removeprefix("\ufeff")).unwrap())
    except TOMLKitError as error:
        raise TargetError(f"the file is no valid TOML: {error}; correct it first") from error


def _plain(node: object) -> Value:
    """``node`` in the types of JSON: what a parser adds to them does not count in a comparison."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_plain(item) for item in node]
    if type(node).__name__ == "ScalarBoolean":  # ruamel.yaml's for one with an anchor: an int
        return bool(node)
    if node is None or isinstance(node, (bool, int, float)):
        return node
    return str(node)
