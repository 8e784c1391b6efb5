"""Repairs a setting in a configuration file: the characters of the value alone, so that all else stays as it is."""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

from gradcheck.editing.config_formats import Value, parsed_json, parsed_toml, parsed_yaml
from gradcheck.editing.files import Change, FilePlan
from gradcheck.errors import TargetError

ConfigKind = Literal["adapter", "json", "yaml", "toml"]
"""adapter: the adapter_config.json that PEFT saves; the others are training configurations."""
Path: TypeAlias = tuple[str | int, ...]

KWARGS = ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs")
SUFFIXES: dict[str, ConfigKind] = {
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".toml": "toml",
}
REENTRANT = (
    "Reentrant checkpointing gives adapters on a frozen model no gradient unless its input requires one; the "
    "non-reentrant kind needs nothing and computes the same."
)
FOR_INFERENCE = (
    "inference_mode freezes the adapter where its configuration is used as it is: "
    "get_peft_model(model, PeftConfig.from_pretrained(folder))."
)
NOT_HEEDED = (
    "PeftModel.from_pretrained does not heed inference_mode: there the script needs is_trainable=True "
    "(gradcheck fix train.py)"
)
FULL = (
    "no adapter is configured here: with all weights trained, reentrant checkpointing is all right"
)
NOTHING = "no checkpointing setting that takes gradients away is in this file"
DEFAULT = (
    "gradient checkpointing is on and use_reentrant is not set: reentrant by default before transformers 5, "
    "non-reentrant since"
)


def kind_of(name: str) -> ConfigKind:
    """The kind of a configuration by its file's name.

    Raises:
        TargetError: where it is none that can be edited.
    """
    suffix = f".{name.rpartition('.')[2]}"
    if name == "adapter_config.json":
        return "adapter"
    if suffix not in SUFFIXES:
        raise TargetError(
            f"{name} is no configuration that can be edited; accepted: {', '.join(SUFFIXES)}"
        )
    return SUFFIXES[suffix]


def plan_config(text: str, kind: ConfigKind) -> FilePlan:
    """The repairs of a configuration file.

    PEFT saves each adapter with ``inference_mode: true`` and sets it anew from ``is_trainable`` where it loads one with
    ``PeftModel.from_pretrained`` (0.21.2, peft_model.py); everything else that reads the file takes it at its word.

    Raises:
        TargetError: where the text cannot be parsed.
    """
    parse = PARSERS[kind]
    data = parse(text)
    if kind == "adapter":
        return _adapter_plan(text, data, parse)
    paths, notes = list(_reentrant(data)), []
    if paths and _full_fine_tuning(data):
        paths, notes = [], [FULL]
    elif not paths:
        notes = [DEFAULT if _left_to_default(data) else NOTHING]
    return _plan(text, data, parse, [(path, False, REENTRANT) for path in paths], notes)


def _adapter_plan(text: str, data: Value, parse: Callable[[str], Value]) -> FilePlan:
    if not isinstance(data, dict) or data.get("inference_mode") is not True:
        return FilePlan(text=text, changes=())
    return _plan(text, data, parse, [(("inference_mode",), False, FOR_INFERENCE)], [NOT_HEEDED])


def _reentrant(node: Value, at: Path = ()) -> Iterator[Path]:
    """Where checkpointing is set to be reentrant, in whatever section."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _reentrant(item, (*at, index))
    if not isinstance(node, dict):
        return
    for key in KWARGS:
        options = node.get(key)
        off = node.get(key.removesuffix("_kwargs")) is False
        if isinstance(options, dict) and options.get("use_reentrant") is True and not off:
            yield (*at, key, "use_reentrant")
    if (
        node.get("use_reentrant_gc") is True
        and node.get("disable_gradient_checkpointing") is not True
    ):
        yield (*at, "use_reentrant_gc")
    for key, value in node.items():
        yield from _reentrant(value, (*at, key))


def _full_fine_tuning(data: Value) -> bool:
    """Whether a framework's file says that no adapter is used: axolotl's without one, LLaMA-Factory's ``full``."""
    if isinstance(data, list):  # the documents of a YAML file
        return any(_full_fine_tuning(document) for document in data)
    if not isinstance(data, dict):
        return False
    axolotl = "base_model" in data and not data.get("adapter") and not data.get("lora_r")
    return axolotl or data.get("finetuning_type") == "full"


def _left_to_default(node: Value) -> bool:
    if isinstance(node, list):
        return any(_left_to_default(item) for item in node)
    if not isinstance(node, dict):
        return False
    here = node.get("gradient_checkpointing") is True and not any(node.get(key) for key in KWARGS)
    return here or any(_left_to_default(value) for value in node.values())


def _plan(
    text: str,
    data: Value,
    parse: Callable[[str], Value],
    wanted: list[tuple[Path, bool, str]],
    notes: list[str],
) -> FilePlan:
    changes, current, state = [], text, data
    for path, value, why in wanted:
        goal = _with(state, path, value)
        found = _edited(current, parse, str(path[-1]), goal)
        place = text.find(str(path[-1])) if found is None else found[1]
        line = text.count("\n", 0, max(place, 0)) + 1
        changes.append(_change(text, line, path, why, made=found is not None))
        if found is not None:
            current, state = found[0], goal
    return FilePlan(text=current, changes=tuple(changes), notes=tuple(notes))


def _change(text: str, line: int, path: Path, why: str, *, made: bool) -> Change:
    name = ".".join(key for key in path if isinstance(key, str))
    adapter = path[-1] == "inference_mode"
    return Change(
        name="load-trainable" if adapter else "use-non-reentrant-checkpointing",
        line=line,
        before_text=text.split("\n")[line - 1].strip(),
        summary=why,
        applicability="safe" if made else "display-only",
        suggestion="" if made else f"{name}: false",
    )


def _with(data: Value, path: Path, value: bool) -> Value:
    """A copy of ``data`` with ``value`` at ``path``."""
    changed = copy.deepcopy(data)
    node: object = changed
    for key in path[:-1]:
        node = node[key]  # type: ignore[index]  # the path was found in this very value
    node[path[-1]] = value  # type: ignore[index]  # the same
    return changed


def _edited(
    text: str, parse: Callable[[str], Value], key: str, goal: Value
) -> tuple[str, int] | None:
    """``text`` with the one value exchanged that makes it parse to ``goal``, and its offset.

    The parser is the judge: a value that an anchor shares, or a word in a comment, does not pass.
    """
    pattern = rf"(?P<quote>[\"']?){re.escape(key)}(?P=quote)\s*[:=]\s*(?P<value>true)\b"
    for match in re.finditer(pattern, text, re.IGNORECASE):
        start, end = match.span("value")
        new = text[:start] + _opposite(match["value"]) + text[end:]
        try:
            if parse(new) == goal:
                return new, match.start()
        except TargetError:
            continue
    return None


def _opposite(word: str) -> str:
    """``false`` as ``true`` is spelled."""
    return "FALSE" if word.isupper() else "False" if word[0].isupper() else "false"


PARSERS: dict[ConfigKind, Callable[[str], Value]] = {
    "adapter": parsed_json,
    "json": parsed_json,
    "yaml": parsed_yaml,
    "toml": parsed_toml,
}
