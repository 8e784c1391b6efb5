"""Which findings are symptoms of which: where the cause is an error, its symptoms are not reported."""

_NOTHING_TRAINS = ("GC101", "GC201", "GC210", "GC702")

SYMPTOMS: dict[str, tuple[str, ...]] = {
    "GC101": ("GC201", "GC210", "GC702"),
    "GC103": ("GC101", "GC105", "GC210"),
    "GC105": ("GC101", "GC201", "GC210"),
    "GC501": _NOTHING_TRAINS,
    "GC207": ("GC702",),
    "GC502": (*_NOTHING_TRAINS, "GC507"),
    "GC503": _NOTHING_TRAINS,
    "GC507": _NOTHING_TRAINS,
    "GC701": ("GC401", "GC402", "GC403"),
    "GC401": ("GC402", "GC403"),
    "GC402": ("GC403",),
}
"""Code of a cause -> codes of its symptoms."""
