"""The errors that gradcheck raises.

    DiagnosticError             could not give an answer (exit status 2)
    ├── InputError              what the user gave cannot be used (also a ValueError)
    │   ├── TargetError         the target names nothing that can be loaded
    │   ├── BatchError          the batch or the loss function does not fit the model
    │   ├── SettingsError       an option or a configuration key is wrong
    │   └── TraceError          a trace file is damaged or of another version
    ├── LoadError               the target exists and loading it failed
    ├── RecordingError          the step could not be recorded (a second session at once, ...)
    │   └── OwnFailure          a failure of gradcheck's own, and none of the step's
    └── EditError               an edit cannot be made on this model

torch has a ``GradcheckError`` of its own (``torch.autograd.gradcheck``), hence the name of the root.
"""


class DiagnosticError(Exception):
    """Base of every error that gradcheck raises on purpose: one sentence of what, why, and what to do."""


class InputError(DiagnosticError, ValueError):
    """What the user gave cannot be used."""


class TargetError(InputError):
    """The target names nothing that can be loaded."""


class BatchError(InputError):
    """The batch or the loss function does not fit the model."""


class SettingsError(InputError):
    """An option or a configuration key is wrong."""


class TraceError(InputError):
    """A trace file is damaged or of another version."""


class LoadError(DiagnosticError):
    """The target exists and loading it failed."""


class RecordingError(DiagnosticError):
    """The step could not be recorded."""


class OwnFailure(RecordingError):
    """gradcheck itself failed; the step runs, or raises something else, without it."""


class EditError(DiagnosticError):
    """An edit cannot be made on this model: the repair that needs it is rejected with this sentence."""


def words_of(error: BaseException) -> str:
    """What ``error`` says; an error's own ``__str__`` may raise as well."""
    try:
        return str(error)
    except Exception as second:
        return f"(its message cannot be had: __str__ raises {type(second).__name__})"


def why_it_could_not_run(error: BaseException) -> str:
    """One sentence for whatever ended a command or the recording of a target."""
    if isinstance(error, DiagnosticError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SystemExit):
        return (
            f"the code of the target ended the program (exit status {error.code}) before the step was over; "
            "give a factory that returns model and batch"
        )
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError":
        return (
            "memory ran out; use a smaller --batch-size or --seq-len, --quant 4bit, or --device cpu"
        )
    return (
        f"an error that gradcheck did not expect ({kind}: {words_of(error)}); run again with --debug for the "
        "traceback, and put it and the output of `gradcheck env` in a bug report"
    )
