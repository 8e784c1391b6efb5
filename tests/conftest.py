"""Takes what the libraries and earlier tests have loaded out of the garbage collector's sight."""

import gc

import pytest

MANY = 30_000
"""Objects that are walked in some 10 ms."""


def pytest_collection_finish() -> None:
    """A full collection walks every object of torch and transformers, 0.3 s each time, and finds nothing in them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _out_of_sight() -> None:
    """The same for models and libraries that were loaded since, before the tests of a file begin."""
    if len(gc.get_objects()) > MANY:
        gc.collect()
        gc.freeze()
