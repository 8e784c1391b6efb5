"""Words that formats for people share."""

APPLICABILITY = {
    "safe": "safe: the loss stays as it is",
    "unsafe": "changes loss, numerics or memory",
    "display-only": "by hand",
}
"""What a repair changes beside curing."""
