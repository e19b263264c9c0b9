"""What a command ends with when it cannot do what was asked."""

from __future__ import annotations


class CommandFailed(Exception):
    """The command cannot do what was asked (status 1); the message says why and what to do."""


class WrongUse(Exception):
    """The command was called wrongly (status 2); the message says how it should be."""
