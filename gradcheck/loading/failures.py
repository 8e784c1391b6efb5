"""Exceptions of other libraries, told in one sentence: what was given, what is accepted, what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from gradcheck.errors import DiagnosticError, LoadError, TargetError

_ALLOCATION_FAILED = ("can't allocate memory", "out of memory")
"""How torch's CPU allocator and CUDA's libraries say it where they raise a plain RuntimeError."""
_MAX_MESSAGE_CHARACTERS = 200
_UNREACHABLE = (
    "{name} is no folder here, is not in the local cache, and the Hub cannot be reached; "
    "give a local folder, or check the name, the network and HF_HUB_OFFLINE"
)
_HUB_PROBLEMS = {
    "GatedRepoError": (
        "the Hub model {name} is gated; accept its terms on its page and log in with `hf auth login`"
    ),
    "RevisionNotFoundError": (
        "{name} has no such revision on the Hub; give --revision a branch, tag or commit it has"
    ),
    "RepositoryNotFoundError": (
        "{name} is neither a folder here nor a model on the Hub; check the spelling, "
        "or log in with `hf auth login` where it is private"
    ),
    "HFValidationError": (
        "{name} is neither a folder here nor a valid Hub id (owner/name); check the spelling"
    ),
    "LocalEntryNotFoundError": _UNREACHABLE,
    "OfflineModeIsEnabled": _UNREACHABLE,
    "ConnectionError": _UNREACHABLE,
    "TransportError": _UNREACHABLE,
    "EntryNotFoundError": (
        "the Hub model {name} lacks a file that is needed, such as config.json or safetensors weights; "
        "give a transformers model or a PEFT adapter"
    ),
}
"""By class name, most telling first: the classes themselves moved between huggingface_hub 0.3x, 1.x and 2.x."""


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Raises what fails while ``name`` is loaded as one of our own errors, the original chained to it."""
    try:
        yield
    except DiagnosticError:
        raise
    except Exception as error:
        raise explanation(name, error) from error


def explanation(name: str, error: Exception) -> DiagnosticError:
    """The error to raise for ``error``, met while loading ``name``."""
    if is_out_of_memory(error):
        return LoadError(
            f"memory ran out while {name} was loaded; use --quant 4bit, a smaller model, "
            "or a machine with more memory"
        )
    if isinstance(error, ImportError):
        return LoadError(
            f"{name} needs a package that is not installed ({first_line(error)}); install it and try again"
        )
    hub_problem = _hub_problem(name, error)
    if hub_problem is not None:
        return TargetError(hub_problem)
    if "trust_remote_code" in str(error):
        return TargetError(
            f"{name} needs code of its own that comes with the checkpoint, and gradcheck runs none unless told to; "
            "read that code, then pass --trust-remote-code"
        )
    return LoadError(
        f"{name} could not be loaded ({type(error).__name__}: {first_line(error)}); "
        "--debug shows where it failed"
    )


def unreachable(name: str) -> str:
    """What to say of a model that only the Hub could have, where it cannot be asked."""
    return _UNREACHABLE.format(name=name)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: by class (``torch.OutOfMemoryError``) or by the allocator's words."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error).lower() for words in _ALLOCATION_FAILED
    )


def first_line(error: BaseException) -> str:
    """The first line of its message that says something, cut to a length that stays one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else "no message"
    return (
        line if len(line) <= _MAX_MESSAGE_CHARACTERS else f"{line[: _MAX_MESSAGE_CHARACTERS - 1]}…"
    )


def _hub_problem(name: str, error: BaseException) -> str | None:
    """What the Hub's client says is wrong, by the class names along the chain of causes."""
    names = class_names(error)
    return next(
        (text.format(name=name) for cls, text in _HUB_PROBLEMS.items() if cls in names), None
    )


def class_names(error: BaseException) -> set[str]:
    """The names of the classes of ``error`` and of everything it was raised from."""
    return {cls.__name__ for link in _chain(error) for cls in type(link).__mro__}


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
