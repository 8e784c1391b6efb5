"""gradcheck: says which tensor breaks the autograd chain of a quantized model with adapters, where and why.

    report = gradcheck.inspect(model, batch)
    result = gradcheck.fix(model, batch)
    with gradcheck.watch(model) as watch: ...
    report = gradcheck.run("train.py").report

Importing this package imports no torch: the names below load what they need when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from gradcheck.version import VERSION

if TYPE_CHECKING:
    from gradcheck.errors import DiagnosticError as DiagnosticError
    from gradcheck.pipeline import fix as fix
    from gradcheck.pipeline import inspect as inspect
    from gradcheck.pipeline import run as run
    from gradcheck.pipeline import watch as watch
    from gradcheck.reports.outcome import FixReport as FixReport
    from gradcheck.reports.report import Report as Report
    from gradcheck.settings import Settings as Settings

__version__ = VERSION
_HOMES = {
    "fix": "gradcheck.pipeline",
    "inspect": "gradcheck.pipeline",
    "run": "gradcheck.pipeline",
    "watch": "gradcheck.pipeline",
    "FixReport": "gradcheck.reports.outcome",
    "Report": "gradcheck.reports.report",
    "Settings": "gradcheck.settings",
    "DiagnosticError": "gradcheck.errors",
}
__all__ = ["DiagnosticError", "FixReport", "Report", "Settings", "fix", "inspect", "run", "watch"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
