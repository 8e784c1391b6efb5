"""Finding the loaders costs no torch."""

import subprocess
import sys

SCAN = "import sys; from gradcheck.subject import LOADERS; print(sorted(LOADERS.all())); "
HEAVY = "print([m for m in ('torch', 'transformers', 'peft', 'bitsandbytes') if m in sys.modules])"


def test_loaders_are_found_without_importing_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCAN + HEAVY], capture_output=True, text=True, check=True
    )
    found, heavy = done.stdout.splitlines()
    assert {"adapter", "factory", "pretrained"} <= set(eval(found))
    assert heavy == "[]"


def test_the_check_above_would_notice() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, torch; {HEAVY}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['torch']"
