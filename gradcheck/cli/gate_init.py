"""``gradcheck gate --init``."""

import sys
from pathlib import Path

from gradcheck.cli.exit_status import ExitStatus
from gradcheck.cli.files import write_files
from gradcheck.cli.options import RunOptions
from gradcheck.configuring.configuration import OWN_FILE, find
from gradcheck.configuring.sample import sample
from gradcheck.configuring.survey import survey
from gradcheck.errors import SettingsError


def initialize(folder: Path, run: RunOptions) -> ExitStatus:
    """Writes a configuration for the repository in ``folder``.

    Raises:
        SettingsError: where there is one already.
    """
    there = find(folder)
    if there is not None:
        raise SettingsError(f"{there} is there already; edit it, or delete it and run this again")
    text, num_targets = sample(survey(folder))
    write_files([(folder / OWN_FILE, text)])
    if not run.quiet:
        for line in _next_lines(num_targets):
            print(f"gradcheck: {line}", file=sys.stderr)
    return ExitStatus.HEALTHY


def _next_lines(num_targets: int) -> list[str]:
    if not num_targets:
        return [
            f"wrote {OWN_FILE}, without a target: nothing was found that can be checked as it stands",
            "next: name a target in it, then gradcheck gate",
        ]
    noun = "target" if num_targets == 1 else "targets"
    return [
        f"wrote {OWN_FILE} with {num_targets} {noun}",
        "next: read it, then gradcheck gate, then gradcheck gate --update-lock to agree on what trains",
    ]
