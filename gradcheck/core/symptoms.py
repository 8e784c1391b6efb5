"""Which findings are symptoms of which: where the cause is an error, its symptoms are not reported."""

SYMPTOMS: dict[str, tuple[str, ...]] = {}
