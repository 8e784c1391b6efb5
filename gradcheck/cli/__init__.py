"""Flags in, exit status out: one file a command. Imports nothing until a command is run."""
