"""The command line: one file for each subcommand, with its NAME, its HELP, `add_arguments` and `run`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Protocol

from consumer_autoscaler import __version__
from consumer_autoscaler.cli import crd, explain, lag, run, simulate
from consumer_autoscaler.cli.failures import CommandFailed, WrongUse
from consumer_autoscaler.runtime.settings import InvalidSettings


class Command(Protocol):
    """What the file of a subcommand has."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> int:
        """0 done, 1 failed. Raises CommandFailed and WrongUse."""


COMMANDS: tuple[Command, ...] = (run, crd, explain, lag, simulate)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 1 failed, 2 wrong use."""
    options = _parser().parse_args(arguments)
    command = next(each for each in COMMANDS if options.command == each.NAME)
    try:
        return command.run(options)
    except (InvalidSettings, WrongUse) as problem:
        print(f"consumer-autoscaler: {problem}", file=sys.stderr)
        return 2
    except CommandFailed as problem:
        print(f"consumer-autoscaler: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `… | head`
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="consumer-autoscaler", description="Scales the consumers of a stream by a promise in seconds."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add_arguments(commands.add_parser(command.NAME, help=command.HELP))
    return parser
