"""The map of gradients in a page: shades for the norm; missing, zero and non-finite are marks of their own."""

from collections.abc import Iterator

from gradcheck.core.words import counted, ranged
from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.html.scope import Scope, code, section
from gradcheck.formats.views.gradient_map import LEVELS, GradientMap, Place, Scale, gradient_maps
from gradcheck.formats.views.text import clean, norm
from gradcheck.reports.report import Report

MAX_ROWS, MAX_LAYERS, MAX_MAPS = 40, 400, 8
MAX_PLACES = 12_000
"""Cells of all maps of a page together: about half a megabyte."""
CLASSES = {"flows": "f", "missing": "m", "zero": "z", "waits": "w", "non-finite": "n"}
"""Short, because there are thousands of cells."""
WORDS = {
    "missing": "no gradient",
    "zero": "a gradient of exactly zero",
    "waits": "zero or none, as it should be at this step",
    "non-finite": "NaN or infinity in it",
}
DENSE = 64
"""More layers than this get narrow cells, in which marks are patterns."""
STEP = 10
"""Every so many layers have their number above."""


def map_section(report: Report, scope: Scope) -> Element | None:
    """The maps of a report under one legend; None where nothing trains."""
    maps = gradient_maps(report.parameters)
    if not maps:
        return None
    scale = Scale.of(maps)
    return section(
        scope,
        "gradients",
        "Gradient norms",
        h("p", _lead(maps), class_="lead"),
        legend(maps, scale),
        map_figures(maps, scale, scope),
        aside="by projection and layer",
    )


def _lead(maps: list[GradientMap]) -> str:
    several = any(p.num_tensors > 1 for one in maps for p in one.places.values())
    each = "the tensors of" if several else "the tensor of"
    more = " A cell of several shows the worst of them." if several else ""
    return f"Each cell is {each} one projection in one layer, after one backward pass.{more}"


def map_figures(maps: list[GradientMap], scale: Scale | None, scope: Scope) -> Iterator[Child]:
    """Each map as a table, within the bounds of a page."""
    budget = scope.bound(MAX_PLACES)
    for one in maps[:MAX_MAPS]:
        layers = one.layers[: scope.bound(MAX_LAYERS)]
        rows = one.rows[: min(scope.bound(MAX_ROWS), max(budget // max(len(layers), 1), 1))]
        budget -= len(rows) * len(layers)
        yield _figure(one, rows, layers, scale)
    if len(maps) > MAX_MAPS:
        yield h("p", f"… {counted(len(maps) - MAX_MAPS, 'more map')}", class_="more")


def _figure(
    one: GradientMap, rows: tuple[str, ...], layers: tuple[int, ...], scale: Scale | None
) -> Element:
    alone = not one.container
    title: Child = "outside numbered layers"
    if not alone:
        title = [code(one.container), f" {ranged([*layers])}"]
    left_out = [
        counted(len(one.rows) - len(rows), "more row") if len(one.rows) > len(rows) else "",
        counted(len(one.layers) - len(layers), "more layer")
        if len(one.layers) > len(layers)
        else "",
    ]
    more = f" (… {', '.join(filter(None, left_out))})" if any(left_out) else ""
    table = h(
        "table",
        h("caption", title, more),
        h("thead", h("tr", h("th", "projection", scope="col"), _heads(layers, alone))),
        h("tbody", [_row(one, row, layers, scale) for row in rows]),
        class_="map single" if alone else "map dense" if len(layers) > DENSE else "map",
    )
    label = "Gradient norms" + ("" if alone else f" of {clean(one.container, 120)}")
    return h("div", table, class_="scroller", role="group", aria_label=label, tabindex="0")


def _heads(layers: tuple[int, ...], alone: bool) -> Iterator[Element]:
    if alone:
        yield h("th", "gradient", scope="col")
        return
    for index, layer in enumerate(layers):
        quiet = "hidden" if index % STEP else None
        yield h("th", h("span", str(layer), class_=quiet), scope="col")


def _row(one: GradientMap, row: str, layers: tuple[int, ...], scale: Scale | None) -> Element:
    cells = [_cell(one.places.get((row, layer)), scale) for layer in layers]
    owner, _, kind = row.rpartition(" ")
    head: Child = [owner, " " if owner else None, h("b", kind)]
    return h("tr", h("th", head, scope="row"), cells)


def _cell(place: Place | None, scale: Scale | None) -> Element:
    if place is None:
        return h("td")
    words = place.state if place.state != "waits" else f"as it should: {place.explanation}"
    class_ = CLASSES[place.state]
    if place.state == "flows":
        words = "flows"
        class_ = "f0"
        if place.norm is not None and scale is not None:
            words, class_ = norm(place.norm), f"f{scale.level(place.norm)}"
    if place.num_tensors > 1:
        words += f" ({place.num_tensors:,} tensors)"
    return h("td", h("i", clean(words, 120)), class_=class_)


def legend(maps: list[GradientMap], scale: Scale | None) -> Element:
    """The shades with their norms, and the marks that these maps use."""
    places = [place for one in maps for place in one.places.values()]
    states = {place.state for place in places}
    items: list[Child] = []
    if scale is not None:
        levels = range(1, LEVELS + 1) if scale.low < scale.high else [scale.level(scale.low)]
        shades = h("span", [h("span", class_=f"key f{level}") for level in levels], class_="shades")
        ends = norm(scale.low), norm(scale.high) if scale.low < scale.high else None
        key = h("dt", ends[0], " ", shades, " ", ends[1], class_="scale")
        items.append([key, h("dd", "norm, in logarithmic shades" if len(levels) > 1 else "norm")])
    if any(place.state == "flows" and place.norm is None for place in places):
        items.append(
            [h("dt", h("span", class_="key f0")), h("dd", "a gradient; its size is not known")]
        )
    for state, meaning in WORDS.items():
        if state in states:
            items.append([h("dt", h("span", class_=f"key {CLASSES[state]}")), h("dd", meaning)])
    dense = any(len(one.layers) > DENSE for one in maps)
    class_ = "legend map-legend dense" if dense else "legend map-legend"
    return h("dl", [h("div", item) for item in items], class_=class_)
