"""The GateReports that all formats are tested with, made by hand."""

import dataclasses

from gradcheck.core.location import Location
from gradcheck.findings.finding import Finding
from gradcheck.gates.baseline import known_finding
from gradcheck.gates.gate import GateReport, IgnoredRule, TargetResult
from gradcheck.gates.lock import Drift, LockedGroup
from gradcheck.reports.formatter import RenderOptions
from tests.formats import fixes, reports

VERSION = "0.0.0"
CONFIGURATION = "gradcheck.toml"
ROOT = "/home/ada/project"
SOURCE_URL = "https://git.example/ada/project/blob/0123abc"
NAMES = ("healthy", "broken-source", "broken-config", "drifted", "hangs")


def options(**changes: object) -> RenderOptions:
    """As the command line makes them in a repository at ``ROOT``."""
    names = [*NAMES, "step"]
    declared = tuple(
        (
            name,
            Location(file=f"{ROOT}/{CONFIGURATION}", line=4 * number + 1, text=f'name = "{name}"'),
        )
        for number, name in enumerate(names)
    )
    made = RenderOptions(root=ROOT, folder=ROOT, source_url=SOURCE_URL, declared=declared)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def group(tensors: int = 30, **changes: object) -> LockedGroup:
    made = LockedGroup(
        group="lora_A q_proj layers.0-29",
        tensors=tensors,
        elements=tensors * 9216,
        dtype="float32",
        reached=tensors,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


DRIFT = (
    Drift(kind="changed", group=group().group, agreed=group(), seen=group(15, dtype="bfloat16")),
    Drift(kind="gone", group="lora_A o_proj layers.0-29", agreed=group(), seen=None),
    Drift(kind="new", group="lora_A up_proj layers.0-29", agreed=None, seen=group()),
)


def mixed() -> GateReport:
    """One of each: healthy, broken by its source, broken by its configuration, drifted, could not run."""
    detached = fixes.source_only().before
    warning = Finding(
        code="GC404",
        rule="half-precision-trainable-parameter",
        severity="warning",
        message="2 trainable tensors are kept in bf16.",
        parameters=("lm_head.weight",),
        num_elements=64,
    )
    gone = known_finding(dataclasses.replace(warning, code="GC403", rule="zero-gradient"))
    return GateReport(
        results=(
            TargetResult(
                name="healthy",
                target="models/smollm2",
                report=reports.healthy(),
                locked=True,
                fixed=(gone,),
                duration_s=12.34,
                peak_memory_bytes=812 * 2**20,
            ),
            TargetResult(
                name="broken-source",
                target="train/factory.py:make",
                report=detached,
                ignored=(IgnoredRule(code="GC6", reason="the optimizer is made elsewhere"),),
                duration_s=9.5,
                peak_memory_bytes=640 * 2**20,
            ),
            TargetResult(
                name="broken-config",
                target="models/llama",
                report=reports.classic(),
                duration_s=11.0,
            ),
            TargetResult(
                name="drifted",
                target="models/other",
                report=dataclasses.replace(reports.healthy(), findings=(warning,)),
                known=(warning,),
                drift=DRIFT,
                locked=True,
                duration_s=10.0,
            ),
            TargetResult(
                name="hangs",
                target="train/slow.py:make",
                report=None,
                could_not_run="no answer within 120 s; its process was ended",
                duration_s=120.0,
            ),
        ),
        version=VERSION,
        configuration=CONFIGURATION,
        notes=("gradcheck.lock holds a target that is gone: old",),
    )


def passing() -> GateReport:
    """Everything is healthy."""
    result = mixed().results[0]
    return GateReport(
        results=(result, dataclasses.replace(result, name="second", fixed=())),
        version=VERSION,
        configuration=CONFIGURATION,
    )


HOSTILE = (
    f"{reports.HOSTILE} @everyone #12 GH-7 !3 /close :tada: $x$ ``` ` | \\| [a](http://evil.example) ![i](x) <!-- --> "
    "http://evil.example www.evil.example ::error::owned %0A::set-output name=a::b ##[add-mask]x ##vso[task.x]y ]]> "
    "&#0; \ufffe \ud800 \u2028* item"
)
"""All of it at once: markup, mentions, references, commands of three services, what XML cannot hold."""
COMMAND = "::error::owned\n::add-mask::x\n##[stop-commands]x"


def hostile() -> GateReport:
    """Everything that comes from the model, the configuration or the user tries to be more than text."""
    report = dataclasses.replace(
        reports.hostile(),
        findings=tuple(
            dataclasses.replace(finding, message=text, module=text, evidence=((text, text),))
            for finding, text in zip(
                reports.hostile().findings, (HOSTILE, COMMAND, HOSTILE), strict=True
            )
        ),
    )
    drift = Drift(kind="changed", group=HOSTILE, agreed=group(), seen=group(1, dtype=HOSTILE))
    known = known_finding(report.findings[0])
    return GateReport(
        results=(
            TargetResult(
                name=HOSTILE,
                target=HOSTILE,
                report=report,
                could_not_run=COMMAND,
                fixed=(known,),
                drift=(drift,),
                ignored=(IgnoredRule(code=HOSTILE, reason=HOSTILE),),
            ),
            TargetResult(name=COMMAND, target=COMMAND, report=None, could_not_run=HOSTILE),
        ),
        version=VERSION,
        configuration=HOSTILE,
        notes=(HOSTILE, COMMAND),
    )


def endless() -> GateReport:
    """More than anybody reads: 10,000 findings in one target, 300 targets, a message of 5 MB, 5,000 groups drifted."""
    (example,) = fixes.source_only().before.findings
    findings = [
        dataclasses.replace(
            example,
            message=f"Finding {i}. " + "It does not end. " * (300_000 if i == 0 else 40),
            severity=("error", "warning", "note")[i % 3],
            module=f"model.blocks.{i}",
        )
        for i in range(10_000)
    ]
    report = dataclasses.replace(reports.many_findings(), findings=tuple(findings))
    drift = tuple(dataclasses.replace(DRIFT[0], group=f"group {i}") for i in range(5000))
    first = TargetResult(name="endless", target="models/endless", report=report, drift=drift)
    others = tuple(
        TargetResult(
            name=f"target-{i}",
            target=f"models/{i}",
            report=None,
            could_not_run="why not " * 2000,
        )
        for i in range(300)
    )
    return GateReport(
        results=(first, *others), version=VERSION, configuration=CONFIGURATION, notes=("n" * 9000,)
    )


GATES = {"mixed": mixed, "passing": passing, "hostile": hostile, "endless": endless}
"""Every GateReport by name."""
