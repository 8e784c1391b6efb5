"""A baseline: findings that a team lives with for now, recognized again when lines and files have moved."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gradcheck.core.codec import from_json
from gradcheck.findings.finding import Finding
from gradcheck.gates.toml_text import document, quoted, targets_of

BASELINE_VERSION = 1
HEAD = """\
Findings that are known and lived with for now: `gradcheck gate` does not show them again, and says when one is fixed.
Made by `gradcheck gate --update-baseline`."""

_DIGITS = 16
"""Hexadecimal digits of a fingerprint: 64 bits, far more than the findings of a repository need."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownFinding:
    """A finding as the baseline keeps it."""

    fingerprint: str
    text: str
    """What it was, for whoever reads the baseline: code, rule, module and source line."""


def fingerprint(finding: Finding) -> str:
    """Tells a finding from others by what stays when lines move: rule, module, file name and the source line's text.

    A finding without a source line is told apart by the first parameter that it concerns.
    """
    at = finding.location
    place = (_file_name(at.file), " ".join(at.text.split())) if at else finding.parameters[:1]
    parts = (finding.code, finding.module or "", *place)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def known_finding(finding: Finding) -> KnownFinding:
    """``finding`` as the baseline keeps it."""
    where = f" in {finding.module}" if finding.module else ""
    source = f": {' '.join(finding.location.text.split())}" if finding.location else ""
    text = f"{finding.code} {finding.rule}{where}{source}"
    return KnownFinding(fingerprint=fingerprint(finding), text=text)


def already_known(
    findings: Iterable[Finding], baseline: Iterable[KnownFinding]
) -> tuple[Finding, ...]:
    """Those of ``findings`` that the baseline holds."""
    held = {known.fingerprint for known in baseline}
    return tuple(finding for finding in findings if fingerprint(finding) in held)


def no_longer_seen(
    findings: Iterable[Finding], baseline: Iterable[KnownFinding]
) -> tuple[KnownFinding, ...]:
    """What the baseline holds and ``findings`` do not: it was fixed."""
    seen = {fingerprint(finding) for finding in findings}
    return tuple(known for known in baseline if known.fingerprint not in seen)


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def baseline_text(baseline: Mapping[str, Iterable[KnownFinding]]) -> str:
    """The baseline file of targets by their names: a line a finding."""
    sections = {
        name: [
            f"{quoted(known.fingerprint)} = {quoted(known.text)}"
            for known in sorted(set(found), key=lambda known: (known.text, known.fingerprint))
        ]
        for name, found in baseline.items()
    }
    return document(HEAD, BASELINE_VERSION, {n: lines for n, lines in sections.items() if lines})


def baseline_of(parsed: Mapping[str, object]) -> dict[str, tuple[KnownFinding, ...]]:
    """The targets' known findings in a parsed baseline file.

    Raises:
        ValueError: where it has another form or version.
    """
    return {
        name: tuple(
            from_json(KnownFinding, {"fingerprint": fingerprint, "text": text})
            for fingerprint, text in found.items()
        )
        for name, found in targets_of(parsed, BASELINE_VERSION).items()
    }
