"""Finds and reads the configuration of a gate."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from gradcheck.configuring.form import Source, Table
from gradcheck.core.target import LEAST, Target
from gradcheck.errors import SettingsError
from gradcheck.findings.rule import RULES
from gradcheck.gates.config import (
    WITHOUT_WEIGHTS,
    Checks,
    GateConfig,
    GateOptions,
    GateTarget,
    checks_fields,
    combined,
    key,
    target_fields,
)

OWN_FILE, PROJECT_FILE = "gradcheck.toml", "pyproject.toml"
SECTION = ("tool", "gradcheck")
TARGETS = "targets"
_MAX_NAME = 200


def find(folder: Path) -> Path | None:
    """The nearest configuration from ``folder`` up; gradcheck.toml comes before pyproject.toml beside it."""
    for place in (folder, *folder.parents):
        if (place / OWN_FILE).is_file():
            return place / OWN_FILE
        project = place / PROJECT_FILE
        if project.is_file() and _section(_parsed(project)[1], SECTION) is not None:
            return project
        if (place / ".git").exists():
            break
    return None


def read(path: Path) -> GateConfig:
    """The configuration in the file at ``path``.

    Raises:
        SettingsError: where it cannot be read, is no TOML, or holds what is not accepted; with the line.
    """
    source, document = _parsed(path)
    location = _location(path, document)
    section = _section(document, location)
    if section is None:
        raise SettingsError(
            f"{path} has no section [tool.gradcheck]; add one, or write gradcheck.toml: `gradcheck gate --init`"
        )
    title = "[tool.gradcheck]" if location else source.name
    top = Table(source=source, path=location, values=section, title=title)
    options = tuple(field.name for field in fields(GateOptions))
    top.only(key(n) for n in (*options, TARGETS, *checks_fields(), *target_fields()))
    made = GateOptions(**_any(top.said(GateOptions, options)))
    if made.jobs is not None and made.jobs < 1:
        source.refuse((*location, "jobs"), f"jobs is {made.jobs}; give 1 or more")
    return GateConfig(file=str(path), options=made, targets=_targets(top))


def _location(path: Path, document: Mapping[str, object]) -> tuple[str, ...]:
    """Where in the file the configuration is; one of another name may hold it at its top or as pyproject.toml does."""
    if path.name == OWN_FILE:
        return ()
    is_project = path.name == PROJECT_FILE or _section(document, SECTION[:1]) is not None
    return SECTION if is_project else ()


def _parsed(path: Path) -> tuple[Source, Mapping[str, object]]:
    import tomlkit  # a third of the help page's time
    from tomlkit.exceptions import TOMLKitError

    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read ({error}); give a TOML file") from error
    try:
        return Source(name=path.name, text=text), tomlkit.parse(text).unwrap()
    except TOMLKitError as error:
        raise SettingsError(f"{path} is no valid TOML: {error}; correct it first") from error


def _section(document: Mapping[str, object], path: tuple[str, ...]) -> Mapping[str, object] | None:
    section: object = document
    for part in path:
        section = section.get(part) if isinstance(section, Mapping) else None
    return section if isinstance(section, Mapping) else None


def _targets(top: Table) -> tuple[GateTarget, ...]:
    common = _checks(top), _target(top, WITHOUT_WEIGHTS)
    listed = top.values.get(TARGETS)
    own = top.path == ()
    header = "[[targets]]" if own else "[[tool.gradcheck.targets]]"
    if not isinstance(listed, list) or not listed or not all(isinstance(t, dict) for t in listed):
        top.source.refuse(
            (*top.path, TARGETS),
            f"there are no targets; give one a section {header} with name and target",
        )
    targets: list[GateTarget] = []
    for index, values in enumerate(listed):
        table = Table(
            source=top.source,
            path=(*top.path, TARGETS, index),
            values=values,
            title=_title(values, index),
        )
        targets.append(_gate_target(table, *common))
        if targets[-1].name in {target.name for target in targets[:-1]}:
            table.source.refuse(
                (*table.path, "name"),
                f"two targets are called {targets[-1].name!r}; give each a name of its own",
            )
    return tuple(targets)


def _title(values: Mapping[str, object], index: int) -> str:
    name = values.get("name") or values.get("target")
    return f"the target {name}" if isinstance(name, str) else f"target {index + 1}"


def _gate_target(table: Table, checks: Checks, target: Target) -> GateTarget:
    table.only(("name", "target", *map(key, (*checks_fields(), *target_fields()))))
    loaded = table.text("target")
    if loaded is None:
        table.source.refuse(
            table.path,
            f"{table.title} has no target; give a hub id, a folder, an adapter folder or a factory",
        )
    name = table.text("name") or loaded
    if len(name) > _MAX_NAME or not name.isprintable():
        table.source.refuse((*table.path, "name"), "a name is one line of at most 200 characters")
    own = _checks(table)
    said = frozenset(n for n in checks_fields() if key(n) in table.values)
    return GateTarget(
        name=name,
        target=_target(table, replace(target, name=loaded)),
        checks=combined(checks, own, said),
    )


def _target(table: Table, base: Target) -> Target:
    made = replace(base, **_any(table.said(Target, target_fields())))
    for name, least in LEAST.items():
        value = getattr(made, name)
        if value < least:
            table.source.refuse(
                (*table.path, key(name)),
                f"{table.title}: {key(name)} is {value}; give {least} or more",
            )
    return made


def _checks(table: Table) -> Checks:
    made = Checks(**_any(table.said(Checks, checks_fields())))
    for name in ("timeout", "memory_gb"):
        if not 0 < getattr(made, name) < float("inf"):
            problem = f"{table.title}: {key(name)} is {getattr(made, name):g}; give more than 0"
            table.source.refuse((*table.path, key(name)), problem)
    codes = [("select", code) for code in made.select]
    for name, code in (*codes, *(("ignore", rule.code) for rule in made.ignore)):
        if not any(known.startswith(code) for known in RULES.all()):
            problem = f"{table.title}: {name} names {code!r}, which no rule's code begins with"
            table.source.refuse((*table.path, name), f"{problem}; `gradcheck rule` lists them")
    return made


def _any(values: dict[str, object]) -> dict[str, Any]:
    """What has been checked against the annotations just now."""
    return values
