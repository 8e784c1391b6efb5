"""Which findings are symptoms of which: where the cause is an error, its symptoms are not reported.

GC210 is a symptom where a rule claims the exception by what raised it and not by its message.
"""

_NOTHING_LEARNS = ("GC101", "GC201", "GC702")

SYMPTOMS: dict[str, tuple[str, ...]] = {
    "GC101": ("GC201", "GC702"),
    "GC103": ("GC101", "GC105", "GC106"),
    "GC106": ("GC501",),
    "GC207": ("GC702",),
    "GC401": ("GC402", "GC403"),
    "GC402": ("GC403",),
    "GC501": _NOTHING_LEARNS,
    "GC502": (*_NOTHING_LEARNS, "GC102", "GC501", "GC507"),
    "GC503": ("GC102", "GC201", "GC702"),
    "GC504": ("GC102", "GC201", "GC702"),
    "GC505": ("GC201", "GC702"),
    "GC507": _NOTHING_LEARNS,
    "GC509": (*_NOTHING_LEARNS, "GC210"),
    "GC510": ("GC102", "GC210", "GC505"),
    "GC511": ("GC403",),
    "GC512": ("GC102", "GC210"),
    "GC602": ("GC601",),
    "GC603": ("GC102",),
    "GC701": ("GC401", "GC402", "GC403"),
    "GC702": ("GC102", "GC201"),
}
"""Code of a cause -> codes of its symptoms."""
