"""Runs ``inspect`` and ``fix`` in a process of their own, so that a step that hangs or dies takes nothing along.

The parent writes an errand into a folder, starts a child, watches its time and memory, and reads the answer from the
folder. The child keeps a black box there, so that the parent knows where it was should no answer come. It is a fresh
interpreter or, of several errands, forked from a nursery: a process that has imported torch. The parent never does.
"""

from gradcheck.isolation.answer import Answer, Inspected, Refused, Repaired, Unfinished
from gradcheck.isolation.errand import Errand, Limits
from gradcheck.isolation.pool import Order, run_all
from gradcheck.isolation.worker import Done, Worker

__all__ = [
    "Answer",
    "Done",
    "Errand",
    "Inspected",
    "Limits",
    "Order",
    "Refused",
    "Repaired",
    "Unfinished",
    "Worker",
    "run_all",
]
