"""What a gate is configured to do: the form of ``[tool.gradcheck]`` and of ``gradcheck.toml``.

The keys of a target are the fields of ``Target`` and those of ``Checks``, with dashes; each may stand at the top as
well, for all targets that do not say otherwise. A new field of either is a new key, in the file, in its schema and in
the error texts.
"""

from dataclasses import dataclass, fields, replace

from gradcheck.core.severity import Severity
from gradcheck.core.target import Target
from gradcheck.gates.gate import IgnoredRule

LOCK, BASELINE = "gradcheck.lock", "gradcheck.baseline"
GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """How a target is judged, and what it may take."""

    select: tuple[str, ...] = ()
    """Rules to run: codes or prefixes of codes (GC301, GC3); all where there is none."""
    ignore: tuple[IgnoredRule, ...] = ()
    """Rules to leave out: a table of code (or prefix) = "reason", added to that at the top. The reasons are printed."""
    fail_on: Severity = "error"
    """Mildest severity that makes the gate fail."""
    timeout: float = 600.0
    """Seconds that the target's process may take, its start and the import of torch included."""
    memory_gb: float = 8.0
    """GiB of memory that the target's process may take, where the system lets it be watched."""

    @property
    def memory_bytes(self) -> int:
        """The limit in bytes."""
        return int(self.memory_gb * GIB)


WITHOUT_WEIGHTS = Target(name="", weights="skip")
"""The set-up of a target about which nothing is said: a gate runs on a plain machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateTarget:
    """One target of a gate."""

    name: str
    """What it is called in the report, the lock and the baseline."""
    target: Target
    checks: Checks


@dataclass(frozen=True, kw_only=True, slots=True)
class GateOptions:
    """What is said of the gate as a whole."""

    jobs: int | None = None
    """Targets that run at the same time; by default as many as there are processors."""
    lock: str = LOCK
    """File of the lock on what trains, relative to the configuration."""
    baseline: str = BASELINE
    """File of the findings that are known, relative to the configuration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig:
    """A whole configuration."""

    file: str
    options: GateOptions
    targets: tuple[GateTarget, ...]


def key(field_name: str) -> str:
    """``lora-rank`` of ``lora_rank``."""
    return field_name.replace("_", "-")


def target_fields() -> tuple[str, ...]:
    """The fields of ``Target`` that are keys; its name is the key ``target``."""
    return tuple(field.name for field in fields(Target) if field.name != "name")


def checks_fields() -> tuple[str, ...]:
    """The fields of ``Checks``."""
    return tuple(field.name for field in fields(Checks))


def added(first: tuple[IgnoredRule, ...], then: tuple[IgnoredRule, ...]) -> tuple[IgnoredRule, ...]:
    """Both, the later reason where both say something of one code."""
    by_code = {rule.code: rule for rule in (*first, *then)}
    return tuple(by_code.values())


def combined(top: Checks, own: Checks, said: frozenset[str]) -> Checks:
    """``top`` with what the target itself says: the fields ``said`` of ``own``."""
    changed = {name: getattr(own, name) for name in said if name != "ignore"}
    return replace(top, ignore=added(top.ignore, own.ignore), **changed)
