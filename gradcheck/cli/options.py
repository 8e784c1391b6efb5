"""The options that commands share, each declared once: dataclasses that ``command`` turns into flags."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from gradcheck.core.severity import Severity
from gradcheck.core.target import LEAST, Checkpointing, Quantization, Target, Weights
from gradcheck.errors import SettingsError
from gradcheck.settings import Settings

SETUP, BATCH, TRUST, JUDGING, OUTPUT = "Set-up", "Batch", "Trust", "Judging", "Output"
"""The panels of the help page."""
_CHECKPOINT = ("*config.json", "*.safetensors*", "*.bin", "*.gguf", "token*", "vocab*", "*.py")
"""The files of a model's or an adapter's folder that transformers and PEFT read."""


def completed_format(incomplete: str) -> list[str]:
    """The formats that begin so, for the shell's completion."""
    from gradcheck.reports.formatter import format_names  # every format, which no help page needs

    return [name for name in format_names() if name.startswith(incomplete)]


def flag(
    panel: str,
    help_text: str,
    *names: str,
    low: int | None = None,
    metavar: str | None = None,
    default: str | bool = True,
    complete: Callable[[str], list[str]] | None = None,
) -> object:
    """One flag; ``default`` is what the help page calls the default where it is not the value itself."""
    return typer.Option(
        *names,
        help=help_text,
        rich_help_panel=panel,
        min=low,
        metavar=metavar,
        show_default=default,
        autocompletion=complete,
    )


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """What to load and how to set it up; the defaults are those of ``Target``."""

    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="Hub id, local folder, PEFT adapter folder, or a factory: "
            "package.module:function or path/to/file.py:function.",
            show_default=False,
        ),
    ]
    weights: Annotated[
        Weights,
        flag(SETUP, "auto: without weights where there are none or they do not fit the memory."),
    ] = "auto"
    quant: Annotated[Quantization, flag(SETUP, "auto: what the checkpoint is, else 4-bit nf4.")] = (
        "auto"
    )
    quant_skip: Annotated[
        list[str] | None,
        flag(
            SETUP,
            "Module name that stays unquantized, as in llm_int8_skip_modules (repeatable).",
            metavar="NAME",
            default="what transformers leaves out",
        ),
    ] = None
    adapter: Annotated[
        str | None,
        flag(SETUP, "PEFT adapter folder to attach instead of a new LoRA.", metavar="FOLDER"),
    ] = None
    lora_rank: Annotated[
        int, flag(SETUP, "Rank of the new LoRA.", low=LEAST["lora_rank"], metavar="N")
    ] = 16
    lora_target: Annotated[
        list[str] | None,
        flag(
            SETUP,
            "Module name the new LoRA adapts (repeatable).",
            metavar="NAME",
            default="all-linear",
        ),
    ] = None
    lora_exclude: Annotated[
        list[str] | None,
        flag(SETUP, "Module name the new LoRA leaves out (repeatable).", metavar="NAME"),
    ] = None
    checkpointing: Annotated[
        Checkpointing, flag(SETUP, "auto: what the installed transformers does by default.")
    ] = "auto"
    no_input_grads: Annotated[
        bool,
        flag(
            SETUP,
            "No hook that gives the inputs a gradient: as older versions leave a model.",
            "--no-input-grads",
        ),
    ] = False
    dtype: Annotated[str, flag(SETUP, "Dtype to compute in.", metavar="DTYPE")] = "auto"
    device: Annotated[str, flag(SETUP, "Device to run on.", metavar="DEVICE")] = "auto"
    set_: Annotated[
        list[str] | None,
        flag(SETUP, "Argument of the factory (repeatable).", "--set", metavar="KEY=VALUE"),
    ] = None
    batch_size: Annotated[
        int, flag(BATCH, "Sequences in the batch.", low=LEAST["batch_size"], metavar="N")
    ] = 1
    seq_len: Annotated[
        int,
        flag(
            BATCH,
            "Tokens of the synthetic batch, the most of one from --data.",
            low=LEAST["seq_len"],
            metavar="N",
        ),
    ] = 64
    data: Annotated[
        str | None,
        flag(
            BATCH,
            "jsonl (text, messages or prompt/completion) or text file to make the batch from.",
            metavar="FILE",
        ),
    ] = None
    seed: Annotated[int, flag(BATCH, "Seed of the step.", low=LEAST["seed"], metavar="N")] = 0
    revision: Annotated[
        str | None, flag(TRUST, "Branch, tag or commit on the hub.", metavar="NAME")
    ] = None
    trust_remote_code: Annotated[
        bool, flag(TRUST, "Run the code that comes with the checkpoint.", "--trust-remote-code")
    ] = False
    allow_pickle: Annotated[
        bool, flag(TRUST, "Load pickled weights; a pickle can run code.", "--allow-pickle")
    ] = False

    def request(self) -> Target:
        """The Target.

        Raises:
            SettingsError: where a ``--set`` is no key=value.
        """
        held = {f.name: getattr(self, f.name) for f in fields(Target) if hasattr(self, f.name)}
        held |= {name: _listed(held[name]) for name in ("quant_skip", "lora_exclude")}
        return Target(
            **held,
            name=self.target,
            arguments=tuple(map(key_and_value, self.set_ or ())),
            lora_targets=_listed(self.lora_target) or ("all-linear",),
            input_grads=not self.no_input_grads,
        )

    def read(self) -> list[Path]:
        """The files of the user's that the target is read from, over which no report is written."""
        script = self.target.rpartition(":")[0]
        files = [file for file in (self.data, script) if file and Path(file).is_file()]
        folders = [folder for folder in (self.target, self.adapter) if folder]
        held = (Path(folder).glob(name) for folder in folders for name in _CHECKPOINT)
        return [*map(Path, files), *chain.from_iterable(held)]


TimeoutOption = Annotated[
    float,
    flag(
        SETUP,
        "Seconds for loading and recording, in a process of its own. 0: no limit, in this process.",
        low=0,
        metavar="SECONDS",
    ),
]
"""The option of a command whose parameter is ``timeout``."""
AuditOption = Annotated[
    bool,
    flag(
        JUDGING,
        "Compare the gradient with the loss itself, by up to 40 more forward passes: finds gradients that are there, "
        "finite and wrong.",
        "--audit",
    ),
]
"""The option of a command whose parameter is ``audit``."""


@dataclass(frozen=True, kw_only=True)
class JudgingOptions:
    """Which rules judge, and what makes the exit status 1."""

    select: Annotated[
        list[str] | None,
        flag(JUDGING, "Rules to run: GC301, or a prefix like GC3 (repeatable).", metavar="CODE"),
    ] = None
    ignore: Annotated[
        list[str] | None,
        flag(JUDGING, "Rules to leave out, after --select (repeatable).", metavar="CODE"),
    ] = None
    fail_on: Annotated[
        Severity, flag(JUDGING, "Mildest severity that makes the exit status 1.")
    ] = "error"

    def settings(self, seed: int = 0, *, audit: bool = False) -> Settings:
        """The Settings.

        Raises:
            SettingsError: where a code is none.
        """
        select, ignore = _listed(self.select), _listed(self.ignore)
        return Settings(seed=seed, select=select, ignore=ignore, audit=audit, fail_on=self.fail_on)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """In which format, and where to."""

    format: Annotated[
        str,
        flag(
            OUTPUT,
            "terminal, json, html, markdown, sarif, junit, gitlab, github or github-summary.",
            "--format",
            "-f",
            metavar="NAME",
            complete=completed_format,
        ),
    ] = "terminal"
    output: Annotated[
        Path | None,
        flag(
            OUTPUT,
            "File for the report, instead of standard output.",
            "--output",
            "-o",
            metavar="FILE",
        ),
    ] = None
    report: Annotated[
        list[str] | None,
        flag(
            OUTPUT,
            "One more report, in a file of its own (repeatable); github and github-summary need no file.",
            "--report",
            metavar="NAME=FILE",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How much to say."""

    verbose: Annotated[
        bool, flag(OUTPUT, "Every group, link, rule and note.", "--verbose", "-v")
    ] = False
    quiet: Annotated[bool, flag(OUTPUT, "No progress on stderr.", "--quiet", "-q")] = False
    debug: Annotated[bool, flag(OUTPUT, "The traceback of an error.", "--debug")] = False


def key_and_value(text: str) -> tuple[str, str]:
    """``("rank", "8")`` of ``rank=8``.

    Raises:
        SettingsError: where there is no ``=`` or no key before it.
    """
    key, equals, value = text.partition("=")
    if not (equals and key.strip()):
        raise SettingsError(f"--set got {text!r}; give key=value, for example --set hidden_size=64")
    return key.strip(), value


def _listed(values: list[str] | None) -> tuple[str, ...]:
    """The values of a repeatable option; one value may hold several between commas."""
    parts = (part.strip() for value in values or () for part in value.split(","))
    return tuple(part for part in parts if part)
