"""Says which seed the random tests have, where one was given."""

from tests.property.seeds import SEED


def pytest_report_header() -> str:
    return f"GRADCHECK_SEED={SEED}" if SEED else ""
