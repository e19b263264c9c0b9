"""`run`: the operator itself."""

from __future__ import annotations

import argparse

from consumer_autoscaler.runtime.settings import Settings, read_settings

NAME, HELP = "run", "run the operator"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, field in Settings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        about = f"{field.description} (default: {_shown(name)})"
        if field.annotation is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=field.description)
        else:
            parser.add_argument(flag, default=None, metavar="VALUE", help=about)


def run(options: argparse.Namespace) -> int:
    settings = read_settings({name: getattr(options, name) for name in Settings.model_fields})
    from consumer_autoscaler.runtime.run import main as run_operator  # kopf and aiokafka: not for the other commands

    return run_operator(settings)


def _shown(name: str) -> str:
    field = Settings.model_fields[name]
    if field.default_factory is not None:
        return "the host's name"
    return str(field.default) if field.default not in (None, "", ()) else "none"
