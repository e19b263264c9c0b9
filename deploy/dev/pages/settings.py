"""docs/settings.md from the operator's settings: flag, variable, default, description.

`python -m pages.settings > docs/settings.md` (`make docs`) renews it; a test compares.
"""

from __future__ import annotations

import sys

from consumer_autoscaler.runtime.settings import PREFIX, Settings

HEAD = """# Settings

<!-- Generated from the code by `make docs`; edit operator/consumer_autoscaler/runtime/settings.py instead. -->

How one operator process runs. Each is a flag of `consumer-autoscaler run` and a variable of the environment; a flag
wins. All about a group is in its [resource](resource.md).

| Flag | Variable | Default | |
|---|---|---|---|
"""


def render() -> str:
    """The whole page."""
    rows = []
    for name, field in Settings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        if field.default_factory is not None:
            default = "the host's name"
        else:
            default = f"`{field.default}`" if field.default not in (None, "", ()) else ""
        rows.append(f"| `{flag}` | `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
