"""Every private name of torch, transformers, peft, accelerate and bitsandbytes that the package uses, in one place.

Importing it imports none of them. ``tests/test_architecture.py`` fails where another file uses such a name, and
``tests/test_internals.py`` where an installed version lacks a name that it is said to have.
"""
