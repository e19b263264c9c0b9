"""The command line: one file for each subcommand, with its NAME, its HELP, `add_arguments` and `run`.

The same program is a plugin of kubectl: what is called `kubectl-consumer_autoscaler` runs as `kubectl
consumer-autoscaler`, without the subcommands that are for the operator itself.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from consumer_autoscaler import __version__
from consumer_autoscaler.cli import (
    completion,
    convert,
    crd,
    explain,
    lag,
    pause,
    resume,
    run,
    simulate,
    status,
)
from consumer_autoscaler.cli.failures import CommandFailed, WrongUse
from consumer_autoscaler.runtime.settings import InvalidSettings

PROGRAM, PLUGIN = "consumer-autoscaler", "kubectl consumer-autoscaler"


class Command(Protocol):
    """What the file of a subcommand has."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> int:
        """0 done, 1 failed. Raises CommandFailed and WrongUse."""


FOR_PEOPLE: tuple[Command, ...] = (status, explain, lag, pause, resume, simulate, convert)
COMMANDS: tuple[Command, ...] = (run, crd, *FOR_PEOPLE, completion)


def main(arguments: Sequence[str] | None = None) -> int:
    """`consumer-autoscaler`: 0 done, 1 failed, 2 wrong use."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["__complete"]:
        return _complete(_parser(PROGRAM, COMMANDS), given[1:])
    return _run(PROGRAM, COMMANDS, given)


def plugin(arguments: Sequence[str] | None = None) -> int:
    """`kubectl consumer-autoscaler`: the same."""
    return _run(PLUGIN, FOR_PEOPLE, list(sys.argv[1:] if arguments is None else arguments))


def complete_plugin(arguments: Sequence[str] | None = None) -> int:
    """What kubectl calls to complete the plugin, with its words."""
    return _complete(_parser(PLUGIN, FOR_PEOPLE), list(sys.argv[1:] if arguments is None else arguments))


def _run(program: str, commands: Sequence[Command], arguments: Sequence[str]) -> int:
    options = _parser(program, commands).parse_args(arguments)
    command = next(each for each in commands if options.command == each.NAME)
    try:
        status_ = command.run(options)
        sys.stdout.flush()
        return status_
    except (InvalidSettings, WrongUse) as problem:
        print(f"{program}: {problem}", file=sys.stderr)
        return 2
    except CommandFailed as problem:
        print(f"{program}: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        return 0


def _complete(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    print("\n".join(completion.complete(parser, words)))
    return 0


def _parser(program: str, commands: Sequence[Command]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program, description="Scales the consumers of a stream by a promise in seconds."
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    for command in commands:
        command.add_arguments(subparsers.add_parser(command.NAME, help=command.HELP))
    return parser
