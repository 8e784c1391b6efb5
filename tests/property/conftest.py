"""Says which random graphs and programs are looked at, where that was asked for."""

import os

from tests.property.seeds import NUM_PROGRAMS, SEED


def pytest_report_header() -> str:
    asked = {"GRADCHECK_SEED", "GRADCHECK_PROGRAMS"} & set(os.environ)
    return f"GRADCHECK_SEED={SEED} GRADCHECK_PROGRAMS={NUM_PROGRAMS}" if asked else ""
