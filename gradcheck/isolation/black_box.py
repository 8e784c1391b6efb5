"""A few hundred bytes of shared memory in which a child says where it is, readable after whatever death."""

import mmap
from pathlib import Path
from typing import NamedTuple

from gradcheck.isolation.errand import BLACK_BOX

_LENGTH_BYTES = 2
_SLOT_BYTES = 1024
_NUM_SLOTS = 3
_KNOWN = ":"
STARTING, IMPORTING, LOADING, RECORDING, FORWARD, BACKWARD = (
    "starting",
    "importing",
    "loading",
    "recording",
    "forward",
    "backward",
)
"""The stages of a child, in their order."""


class Whereabouts(NamedTuple):
    """What the black box holds."""

    stage: str
    module: str | None
    """FQN of the module whose forward was running; None where there was none, or it is not known."""
    activity: str
    """What is shown to the user as progress."""


class BlackBox:
    """Three texts in a mapped file: writing one takes about a microsecond and reaches the parent without a call.

    A mapped page survives the process that wrote it, also where that is killed from outside.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / BLACK_BOX
        if not path.is_file():
            path.write_bytes(bytes(_NUM_SLOTS * _SLOT_BYTES))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _NUM_SLOTS * _SLOT_BYTES)

    def put_module(self, fqn: str | None) -> None:
        """Writes the module; the model itself has an empty name and is not the same as none."""
        self.put(MODULE, "" if fqn is None else _KNOWN + fqn)

    def put(self, slot: int, text: str) -> None:
        """Writes one of the fields of ``Whereabouts``, by its index."""
        start = slot * _SLOT_BYTES
        content = text.encode("utf-8", "replace")[: _SLOT_BYTES - _LENGTH_BYTES]
        header = len(content).to_bytes(_LENGTH_BYTES, "little")
        self._memory[start : start + _LENGTH_BYTES + len(content)] = header + content

    def read(self) -> Whereabouts:
        """What was written last; a text that is being written at the same moment may be half of each."""
        stage, module, activity = (self._text(slot) for slot in range(_NUM_SLOTS))
        known = module.startswith(_KNOWN)
        return Whereabouts(stage, module.removeprefix(_KNOWN) if known else None, activity)

    def _text(self, slot: int) -> str:
        start = slot * _SLOT_BYTES
        length = int.from_bytes(self._memory[start : start + _LENGTH_BYTES], "little")
        content = self._memory[start + _LENGTH_BYTES :][: min(length, _SLOT_BYTES - _LENGTH_BYTES)]
        return content.decode("utf-8", "replace")

    def close(self) -> None:
        """Lets go of the memory; the file stays."""
        self._memory.close()


STAGE, MODULE, ACTIVITY = range(_NUM_SLOTS)
"""The slots, in the order of ``Whereabouts``."""
