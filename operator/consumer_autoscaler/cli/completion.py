"""`completion`: scripts for bash, zsh and fish; the words themselves come from the parsers and from the cluster.

kubectl completes plugins by a program `kubectl_complete-NAME` beside them, which prints a word in each line and then
`:4`, that is "no file names" in the language of its library.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from consumer_autoscaler.cli.failures import CommandFailed
from consumer_autoscaler.cli.to_cluster import RESOURCE_METAVAR, connected, resources_of

NAME, HELP = "completion", "print a script that lets a shell complete this command"

NO_FILES, FILES = ":4", ":0"
ANSWER_SECONDS = 3.0
_VALUES = ("--namespace", "-n", "--kubeconfig", "--context")  # of the words before, what decides where names are sought

_SCRIPTS = {
    "bash": """# source <({program} completion bash)
_{function}() {{
    local found IFS=$'\\n'
    found=$({complete} "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2>/dev/null)
    if [[ "${{found##*$'\\n'}}" == ":0" ]]; then
        COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}"))
    else
        COMPREPLY=($(grep -v '^:' <<<"$found"))
    fi
}}
complete -F _{function} {program}
""",
    "zsh": """#compdef {program}
# source <({program} completion zsh)
_{function}() {{
    local -a found
    found=(${{(f)"$({complete} "${{(@)words[2,CURRENT]}}" 2>/dev/null)"}})
    if [[ "${{found[-1]}}" == ":0" ]]; then _files; else compadd -- ${{found:#:*}}; fi
}}
compdef _{function} {program}
""",
    "fish": """# {program} completion fish | source
function __{function}
    set -l words (commandline -opc) (commandline -ct)
    set -l found ({complete} $words[2..-1] 2>/dev/null)
    if test "$found[-1]" = ":0"
        __fish_complete_path (commandline -ct)
    else
        string match -v ':*' -- $found
    end
end
complete -c {program} -f -a '(__{function})'
""",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=sorted(_SCRIPTS))


def run(options: argparse.Namespace) -> int:
    program = "consumer-autoscaler"
    names = {"program": program, "function": "consumer_autoscaler", "complete": f"{program} __complete"}
    sys.stdout.write(_SCRIPTS[options.shell].format(**names))
    return 0


def complete(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """What the last of the words may become, and then whether file names may, too."""
    *before, begun = words or [""]
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    names = [word for word in before if word in commands.choices]
    if not names:
        return [*_beginning(begun, [*commands.choices, "--help", "--version"]), NO_FILES]
    command: argparse.ArgumentParser = commands.choices[names[0]]
    options = {flag: action for action in command._actions for flag in action.option_strings}
    last = options.get(before[-1])
    if last is not None and last.nargs != 0:
        return _of_action(last, begun)
    if begun.startswith("-"):
        return [*_beginning(begun, options), NO_FILES]
    places = [action for action in command._actions if not action.option_strings]
    if not places:
        return [NO_FILES]
    if places[0].metavar == RESOURCE_METAVAR:
        return [*_beginning(begun, _resources(before)), NO_FILES]
    return _of_action(places[0], begun)


def _of_action(action: argparse.Action, begun: str) -> list[str]:
    if action.choices is not None:
        return [*_beginning(begun, [str(choice) for choice in action.choices]), NO_FILES]
    return [FILES if action.type is Path or action.metavar == "FILE" else NO_FILES]


def _beginning(begun: str, words: Sequence[str] | dict[str, argparse.Action]) -> list[str]:
    return [word for word in words if word.startswith(begun)]


def _resources(before: Sequence[str]) -> list[str]:
    """The names of the resources where the words so far ask for them; none when the cluster does not answer soon."""
    said = {before[i]: before[i + 1] for i in range(len(before) - 1) if before[i] in _VALUES}
    kubeconfig = said.get("--kubeconfig")
    options = argparse.Namespace(
        namespace=said.get("--namespace", said.get("-n")),
        all_namespaces=False,
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
        context=said.get("--context"),
    )

    async def ask() -> list[str]:
        async with connected(options) as kube:
            return sorted(str(body["metadata"]["name"]) for body in await resources_of(kube, options))

    try:
        return asyncio.run(asyncio.wait_for(ask(), ANSWER_SECONDS))
    except (CommandFailed, TimeoutError):
        return []
