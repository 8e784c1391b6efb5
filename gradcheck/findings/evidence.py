"""Builds findings: the one place that knows how a Finding is filled from indices into a Trace."""

from gradcheck.core.location import Location
from gradcheck.core.severity import Severity
from gradcheck.core.words import listed
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import RULES
from gradcheck.findings.wording import (
    call_text,
    cost_text,
    maker_text,
    module_text,
    place_text,
    tensor_text,
)
from gradcheck.judging.chain import Cause, ChainBreak
from gradcheck.reading.lines import location
from gradcheck.reading.parameters import Parameters, fqns, num_elements, owners
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

Pairs = tuple[tuple[str, str], ...]


def finding(
    trace: Trace,
    code: str,
    severity: Severity,
    *,
    what: str,
    why: str,
    remedy: str,
    module: int = NONE,
    at: Location | None = None,
    parameters: Parameters = frozenset(),
    evidence: Pairs = (),
    repairs: tuple[Repair, ...] = (),
) -> Finding:
    """A Finding of the rule ``code``; its message is ``what``, ``why`` and ``remedy`` in one paragraph."""
    return Finding(
        code=code,
        rule=RULES.all()[code].name,
        severity=severity,
        message=f"{what} {why} {remedy}",
        module=trace.module_fqn(module),
        location=at,
        parameters=fqns(trace, parameters),
        evidence=tuple((label, text) for label, text in evidence if text),
        repairs=repairs,
        num_elements=num_elements(trace, parameters),
    )


def concerned(broken: ChainBreak) -> Parameters:
    """The parameters that lost their last path at the break, or else those that lost some."""
    return broken.starved or broken.partial


def loss_of_gradient(trace: Trace, broken: ChainBreak) -> str:
    """What the break costs, as the end of a sentence."""
    cost = cost_text(trace, concerned(broken))
    if broken.starved:
        return f"{cost} before it get no gradient"
    return f"{cost} before it get a gradient, without the part that comes through here"


def break_evidence(trace: Trace, broken: ChainBreak) -> Pairs:
    """The tensor, who made it, which call cut it, who switched autograd off, and what it costs."""
    value = trace.values[broken.value] if broken.value != NONE else None
    cutter = call_text(trace, broken.call) if broken.call != NONE else ""
    return (
        ("tensor", tensor_text(value) if value else ""),
        ("made by", maker_text(trace, broken.value) if value else ""),
        ("cut by", cutter),
        ("switched off by", _switch_text(trace, broken.switch)),
        ("seen", broken.detail if broken.detail not in cutter else ""),
        ("costs", cost_text(trace, concerned(broken))),
        ("times", f"{broken.times} calls of the step" if broken.times > 1 else ""),
        ("certainty", "inferred: the call itself was not seen" if broken.inferred else ""),
    )


def _switch_text(trace: Trace, switch: int) -> str:
    if switch == NONE:
        return ""
    at = trace.switches[switch]
    place = place_text(trace, at.frame)
    decorated = f" on {at.decorated}" if at.decorated else ""
    where = f" in {module_text(trace, at.module)}"
    return f"{at.kind}{decorated}{where}" + (f", {place}" if place else "")


def break_finding(
    trace: Trace,
    code: str,
    broken: ChainBreak,
    *,
    what: str,
    why: str,
    remedy: str,
    severity: Severity | None = None,
    module: int | None = None,
    at: Location | None = None,
    repairs: tuple[Repair, ...] = (),
) -> Finding:
    """A Finding about one break: an error where a parameter starves, else a warning, unless given.

    Where the line is a library's own it says so: nobody can repair it by a setting of the training.
    """
    package = library_of(trace, broken)
    reach: Pairs = ()
    if package and broken.starved:
        names = listed(owners(trace, broken.starved))
        remedy = (
            f"The line is in {package}, and no setting of the training changes it: leave the modules out of "
            f"target_modules, or freeze them. Where the code is yours to change: {remedy[:1].lower()}{remedy[1:]}"
        )
        reach = (("out of reach", f"{names}: {package} cuts them off by itself"),)
    return finding(
        trace,
        code,
        severity or ("error" if broken.starved else "warning"),
        what=what,
        why=why,
        remedy=remedy,
        module=broken.module if module is None else module,
        at=at or location(trace, broken.frame),
        parameters=concerned(broken),
        evidence=(*break_evidence(trace, broken), *reach),
        repairs=repairs,
    )


_BY_SETTING: tuple[Cause, ...] = ("reentrant-checkpoint", "hidden-input", "recompute-mismatch")
"""Causes that a setting of the training changes, whoever wrote the line."""


def library_of(trace: Trace, broken: ChainBreak) -> str:
    """The installed package whose own line cuts the chain; empty where it is the user's, or a setting's doing."""
    if broken.cause in _BY_SETTING:
        return ""
    frame = broken.frame
    if broken.switch != NONE:
        switch = trace.switches[broken.switch]
        frame = switch.frame
        if switch.decorated and (frame == NONE or not trace.frames[frame].text.startswith("@")):
            # of a decorator in a library only the user's call is known (see Switch.frame): the forward of a part of
            # the model is the library's business, another function (``generate``) the caller's
            part = switch.decorated.endswith(".forward") and switch.module != NONE
            return trace.modules[switch.module].type.partition(".")[0] if part else ""
    if frame == NONE or not trace.frames[frame].library:
        return ""
    return _package(trace.frames[frame].file)


def _package(file: str) -> str:
    parts = file.replace("\\", "/").split("/")
    roots = [at for at, part in enumerate(parts[:-1]) if part in ("site-packages", "dist-packages")]
    return parts[roots[-1] + 1].removesuffix(".py") if roots else ""
