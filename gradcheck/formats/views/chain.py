"""Where the breaks sit in the chain from the inputs to the loss, and which part of a long chain is worth showing."""

import re
from collections.abc import Iterable
from typing import Literal

from typing_extensions import assert_never

from gradcheck.findings.finding import Finding
from gradcheck.formats.views.text import clean
from gradcheck.formats.views.verdict import break_finder, by_severity
from gradcheck.reports.report import Break, Link, Report

NEIGHBORS = 1
"""Links shown on either side of a cut where the picture has to leave some out."""
MAX_CODES = 3
Wire = Literal["cut", "partly-cut", "flows", "none"]
"""What becomes of the gradient that comes from the loss: all of it ends here, some does, it passes, there is none."""


def codes_in(link: Link, report: Report) -> list[str]:
    """Codes of the findings, notes left out, that sit in this link."""
    return _codes(f for f in _grave(report) if f.module and covers(link.name, f.module))


def codes_of(cut: Break, report: Report) -> list[str]:
    """Codes of the findings that tell of this break."""
    cut_of = break_finder(report)
    return _codes(f for f in _grave(report) if cut_of(f) == cut)


def wires(report: Report) -> list[Wire]:
    """What becomes of the gradient at each link of the chain."""
    partly = partial_breaks(report)
    cuts = [index for index, link in enumerate(report.chain) if link.cut]
    last_cut = max([*cuts, *(index + 1 for index in loose_cuts(report))], default=-1)
    return [_wire(link, partly, index < last_cut) for index, link in enumerate(report.chain)]


def _wire(link: Link, partly: list[tuple[str, Break]], above_cut: bool) -> Wire:
    if link.cut:
        return "cut"
    if any(covers(link.name, module) for module, _ in partly):
        return "partly-cut"
    match link.state:
        case "live" | "partial":
            return "flows"
        case "frozen":
            return "none" if above_cut else "flows"
        case "starved" | "unused" | "unknown":
            return "none"
        case never:
            assert_never(never)


def partial_breaks(report: Report) -> list[tuple[str, Break]]:
    """The partial breaks that a finding tells of as more than a note, by the finding's module."""
    cut_of = break_finder(report)
    pairs = ((finding.module, cut_of(finding)) for finding in _grave(report))
    return [(module, cut) for module, cut in pairs if module and cut is not None and cut.partial]


def loose_cuts(report: Report) -> dict[int, list[Break]]:
    """The breaks that sit in no link, by the index of the link after which each comes.

    Such a break is in the forward of a module that holds the links (it comes after the last link that it starves), or
    outside the model, between its output and the loss (it comes last).
    """
    return _between(report.chain, (cut for cut in report.breaks if cut.starved))


def loose_partial_cuts(report: Report) -> dict[int, list[Break]]:
    """The partial breaks that sit in no link and that a finding tells of as more than a note, placed the same way."""
    cuts = map(break_finder(report), _grave(report))
    return _between(report.chain, dict.fromkeys(cut for cut in cuts if cut and not cut.starved))


def _between(chain: tuple[Link, ...], cuts: Iterable[Break]) -> dict[int, list[Break]]:
    found: dict[int, list[Break]] = {}
    for cut in cuts:
        if not (cut.module and any(covers(link.name, cut.module) for link in chain)):
            found.setdefault(_place(cut, chain), []).append(cut)
    return found


def _place(cut: Break, chain: tuple[Link, ...]) -> int:
    last = len(chain) - 1
    if cut.module is None:
        return last
    lost = (
        index
        for index in range(last, -1, -1)
        if any(covers(chain[index].name, fqn) for fqn in cut.starved or cut.partial)
    )
    return next(lost, last)


def _grave(report: Report) -> list[Finding]:
    return [f for f in by_severity(report.findings) if f.severity != "note"]


def _codes(findings: Iterable[Finding]) -> list[str]:
    return [clean(code, 16) for code in dict.fromkeys(f.code for f in findings)][:MAX_CODES]


def shown_links(chain: tuple[Link, ...], limit: int) -> list[range]:
    """Stretches of the chain to show: all of it, or its ends and what lies around the cuts."""
    if len(chain) <= limit:
        return [range(len(chain))]
    cuts = [i for i, link in enumerate(chain) if link.cut][: limit // 4]
    wanted = {i + d for i in cuts for d in range(-NEIGHBORS, NEIGHBORS + 1)} & {*range(len(chain))}
    ends = max((limit - len(wanted)) // 2, 1)
    wanted |= {*range(ends), *range(len(chain) - ends, len(chain))}
    starts = sorted(i for i in wanted if i - 1 not in wanted)
    stops = sorted(i + 1 for i in wanted if i + 1 not in wanted)
    return [range(start, stop) for start, stop in zip(starts, stops, strict=True)]


def common_prefix(names: list[str]) -> str:
    """The dotted beginning that all ``names`` share (``base_model.model.``), empty where it saves little."""
    shared: list[str] = []
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    while shared and any(name.split(".")[len(shared)][:1].isdigit() for name in names):
        shared.pop()  # a name that begins with a layer's number says too little
    prefix = "".join(f"{part}." for part in shared)
    return prefix if len(names) > 1 and len(prefix) > 8 else ""


def covers(name: str, fqn: str) -> bool:
    """Whether ``fqn`` is the module that a link's (possibly folded) name means, or lies inside it."""
    pattern, module = name.split("."), fqn.split(".")
    if len(pattern) > len(module):
        return False
    return all(_matches(p, m) for p, m in zip(pattern, module, strict=False))


def _matches(pattern: str, part: str) -> bool:
    span = re.fullmatch(r"(\d+)[-–](\d+)", pattern)
    if span and part.isdigit():
        return int(span[1]) <= int(part) <= int(span[2])
    return pattern == part
