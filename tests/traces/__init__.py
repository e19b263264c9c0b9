"""The recorded loads; sources and licences are in README.md beside this file."""

from pathlib import Path

TRACES = Path(__file__).parent
