"""Draws the pictures of how-it-works.md; build.py writes them.

Each has a background of its own and follows the reader's light or dark setting, so that it can be read on any page.
"""

import itertools
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "pictures"
STYLE = """\
svg{--ground:#fff;--ink:#1f2328;--soft:#59636e;--line:#8c959f;--box:#f6f8fa;--good:#116329;--bad:#b3261e}
@media(prefers-color-scheme:dark){svg{--ground:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#6e7681;--box:#161b22;\
--good:#56d364;--bad:#ff7b72}}
text{font:14px system-ui,sans-serif;fill:var(--ink);text-anchor:middle}
.small{font-size:12px;fill:var(--soft)}.left{text-anchor:start}.title{font-weight:600;text-anchor:start}
.ground{fill:var(--ground);stroke:var(--line)}.box{fill:var(--box);stroke:var(--line);stroke-width:1.5}
.good{stroke:var(--good)}.bad{stroke:var(--bad);stroke-dasharray:5 4}text.good{fill:var(--good);stroke:none}
text.bad{fill:var(--bad);stroke:none}.arrow{fill:none;stroke:var(--line);stroke-width:2}
.arrow.good{stroke:var(--good)}.arrow.bad{stroke:var(--bad)}.area{fill:none;stroke:var(--line);stroke-dasharray:3 3}
marker path{fill:context-stroke}"""
BOX_HEIGHT = 40


class Drawing:
    """An SVG in the making."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"',
            f' height="{height}" role="img" aria-labelledby="title description">',
            f'<title id="title">{title}</title>',
            f'<desc id="description">{description}</desc>',
            f"<style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"',
            ' markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z"/></marker></defs>',
            f'<rect class="ground" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        ]

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """A line of text."""
        self._parts.append(f'<text class="{kind}" x="{x}" y="{y}">{words}</text>')

    def box(
        self, x: float, y: float, words: str, *, under: str = "", kind: str = "", width: int = 100
    ) -> None:
        """A box around (x, y) with a word in it and a smaller one under it."""
        left, top = x - width / 2, y - BOX_HEIGHT / 2
        self._parts.append(
            f'<rect class="box {kind}" x="{left}" y="{top}" width="{width}" height="{BOX_HEIGHT}" rx="6"/>'
        )
        self.text(x, y + 5, words)
        if under:
            self.text(x, y + BOX_HEIGHT / 2 + 16, under, f"small {kind}")

    def arrow(self, *points: tuple[float, float], kind: str = "") -> None:
        """An arrow along the points."""
        path = " ".join(f"{x} {y}" for x, y in points)
        self._parts.append(f'<path class="arrow {kind}" marker-end="url(#tip)" d="M{path}"/>')

    def area(self, x: float, y: float, width: float, height: float) -> None:
        """A dotted frame."""
        self._parts.append(
            f'<rect class="area" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'
        )

    def scissors(self, x: float, y: float) -> None:
        """Where the chain is cut."""
        self.text(x, y + 6, "✂", "bad")

    def done(self) -> str:
        """The file."""
        return "\n".join([*self._parts, "</svg>", ""])


STEPS = ((80, "inputs"), (220, "layers"), (360, "detach()"), (500, "head"), (640, "loss"))


def two_graphs() -> str:
    """What was computed from what, and what autograd kept."""
    drawing = Drawing(
        720,
        290,
        "Two graphs of one forward pass",
        "Above, the data-flow graph: inputs, layers with LoRA, detach, head, loss, all connected. Below, the autograd "
        "graph: the connection from the layers ends before detach; only head and loss are connected.",
    )
    drawing.text(24, 32, "data flow: what was computed from what", "title")
    drawing.text(24, 162, "autograd: what carries a gradient", "title")
    for y in (80, 210):
        for x, words in STEPS:
            drawing.box(x, y, words, under={220: "LoRA trains", 500: "trains"}.get(x, ""))
    for (x, _), (following, _) in itertools.pairwise(STEPS):
        drawing.arrow((x + 50, 80), (following - 52, 80))
    drawing.arrow((590, 210), (552, 210), kind="good")
    drawing.arrow((450, 210), (412, 210), kind="bad")
    drawing.arrow((310, 210), (272, 210), kind="bad")
    drawing.scissors(431, 190)
    drawing.text(360, 272, "what should lead back to the layers and does not: the break", "small")
    return drawing.done()


def cut() -> str:
    """A full break and a partial one."""
    drawing = Drawing(
        720,
        330,
        "A break, and a partial break",
        "Left: the only path from layer to loss is cut, the layer is starved. Right: one of two paths is cut, the "
        "layer gets a gradient through the other one, and it is incomplete.",
    )
    drawing.text(24, 32, "the last path is cut: starved", "title")
    for y, words in ((80, "layer"), (170, "argmax"), (260, "loss")):
        drawing.box(170, y, words, kind="bad" if words == "layer" else "")
    drawing.arrow((170, 100), (170, 148))
    drawing.arrow((170, 190), (170, 238))
    drawing.scissors(196, 216)
    drawing.text(170, 308, "gradient missing", "small bad")
    drawing.text(384, 32, "one of two is cut: partial", "title")
    drawing.box(540, 80, "layer")
    drawing.box(460, 170, "detach()")
    drawing.box(620, 170, "MLP")
    drawing.box(540, 260, "loss")
    drawing.arrow((520, 100), (474, 148))
    drawing.arrow((474, 190), (520, 238))
    drawing.scissors(480, 220)
    drawing.arrow((560, 100), (606, 148), kind="good")
    drawing.arrow((606, 190), (560, 238), kind="good")
    drawing.text(540, 308, "gradient there, and the wrong one", "small bad")
    return drawing.done()


def reentrant() -> str:
    """A checkpoint whose input requires no gradient, and one whose input does."""
    drawing = Drawing(
        720,
        340,
        "Reentrant checkpointing",
        "Above: the frozen embedding's output requires no gradient, so the checkpoint's output requires none and "
        "the loss has no graph. Below: with enable_input_require_grads the output does, the backward pass reaches "
        "the checkpoint, and the layers are computed again with autograd on.",
    )
    for top, title, kind, note in (
        (20, "no input requires a gradient", "bad", "autograd off; the LoRA inside is not asked"),
        (175, "model.enable_input_require_grads()", "good", "computed again in the backward pass"),
    ):
        y = top + 72
        asked = "False" if kind == "bad" else "True"
        drawing.text(24, top + 16, title, "title")
        drawing.box(90, y, "embedding", under="frozen")
        drawing.area(212, y - 34, 276, 86)
        drawing.text(350, y + 42, note, f"small {kind}")
        drawing.box(290, y, "layer 0")
        drawing.box(410, y, "layer 1")
        drawing.box(620, y, "loss", under="no grad_fn" if kind == "bad" else "grad_fn", kind=kind)
        drawing.arrow((140, y), (238, y), kind=kind)
        drawing.arrow((340, y), (358, y))
        drawing.arrow((460, y), (568, y), kind=kind)
        drawing.text(176, y - 10, asked, f"small {kind}")
        drawing.text(528, y - 10, asked, f"small {kind}")
    drawing.text(24, 322, "True, False: requires_grad of what is handed on", "small left")
    return drawing.done()


def zero_partners() -> str:
    """The gradients of lora_A and lora_B before and after the first step."""
    drawing = Drawing(
        720,
        230,
        "Zero partners",
        "Left: at the first step B is zero, so the gradient of A is zero and that of B flows. Right: after the first "
        "step B is no longer zero, and both gradients flow.",
    )
    for left, title, value, state, kind in (
        (24, "first step", "B = 0", "zero: waits for lora_B", ""),
        (384, "second step", "B ≠ 0", "flows", "good"),
    ):
        drawing.text(left, 32, title, "title")
        drawing.box(left + 40, 90, "x", width=44)
        drawing.box(left + 125, 90, "A", width=60, kind=kind)
        drawing.text(left + 125, 134, "gradient", "small")
        drawing.text(left + 125, 152, state, f"small {kind}")
        drawing.box(left + 250, 90, value, width=70, kind="good")
        drawing.text(left + 250, 134, "gradient", "small")
        drawing.text(left + 250, 152, "flows", "small good")
        drawing.arrow((left + 62, 90), (left + 93, 90))
        drawing.arrow((left + 155, 90), (left + 213, 90))
        drawing.arrow((left + 285, 90), (left + 314, 90))
    drawing.text(360, 210, "the gradient of A is multiplied with B, that of B with A·x", "small")
    return drawing.done()


DRAWINGS = {
    "two-graphs.svg": two_graphs,
    "break.svg": cut,
    "reentrant.svg": reentrant,
    "zero-partners.svg": zero_partners,
}


def drawings() -> dict[Path, str]:
    """Every drawing by its path."""
    return {FOLDER / name: draw() for name, draw in DRAWINGS.items()}
