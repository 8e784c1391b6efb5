"""Which reports were asked for, checked before a model is loaded for them."""

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gradcheck.cli.files import check_paths
from gradcheck.cli.options import ReportOptions
from gradcheck.errors import SettingsError
from gradcheck.reports.formatter import format_names

ANNOTATIONS, SUMMARY = "github", "github-summary"
"""The formats that have a place of their own: the log of the workflow, which GitHub reads, and the job's page."""
SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A report beside the main one."""

    format: str
    file: Path | None = None
    """The file to write; None: standard output, unless ``added_to``."""
    added_to: Path | None = None
    """The file to add to, which others write to as well."""


def check_report(report: ReportOptions, *others: Path | None, read: Iterable[Path] = ()) -> None:
    """Refuses a format that there is not and a file that cannot be written, ``others`` included.

    Args:
        report: what was asked for.
        others: files that the command writes besides.
        read: files that it reads, over which nothing is written.

    Raises:
        SettingsError: where there is one of these; the text says what is accepted.
    """
    known_format(report.format, "--format")
    places = (wanted.file or wanted.added_to for wanted in wanted_reports(report))
    check_paths(report.output, *others, *places, read=read)


def wanted_reports(report: ReportOptions) -> list[Wanted]:
    """What ``--report`` asks for, in the order in which it was typed.

    Raises:
        SettingsError: where it is no ``format=file``.
    """
    return [_wanted(text) for text in report.report or ()]


def _wanted(text: str) -> Wanted:
    name, equals, file = text.partition("=")
    known_format(name.strip(), "--report", suffix="=FILE")
    if file.strip():
        return Wanted(format=name.strip(), file=Path(file.strip()).expanduser())
    if equals or name.strip() not in (ANNOTATIONS, SUMMARY):
        raise SettingsError(
            f"--report got {text!r}, which names no file; give {name}=FILE, or --format {name} for standard output"
        )
    if name.strip() == ANNOTATIONS:
        return Wanted(format=ANNOTATIONS)
    place = os.environ.get(SUMMARY_VARIABLE)
    if not place:
        raise SettingsError(
            f"--report {SUMMARY} adds to the file that {SUMMARY_VARIABLE} names, and it names none here; "
            f"give {SUMMARY}=FILE"
        )
    return Wanted(format=SUMMARY, added_to=Path(place))


def known_format(name: str, option: str = "--format", *, suffix: str = "") -> str:
    """``name`` where there is such a format.

    Raises:
        SettingsError: where there is none; the text lists those there are.
    """
    names = format_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}{suffix}?" if near else ""
        raise SettingsError(f"{option} got {name!r}; accepted: {', '.join(names)}{hint}")
    return name
