"""What is shipped in the image may be shipped under Apache-2.0: the licences that the locked packages say they have."""

from __future__ import annotations

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from bed.paths import REPOSITORY

# Permissive ones, and MPL-2.0, whose files may be shipped as they are.
ALLOWED = re.compile(
    r"(Apache[- ](2\.0|Software License)|MIT( License)?|BSD[- ][23][- ]Clause|BSD License|PSF-2\.0"
    r"|Python Software Foundation License|Mozilla Public License 2\.0 \(MPL 2\.0\)|MPL-2\.0|ISC|0BSD|Unlicense)"
)


def locked(file: str) -> list[Requirement]:
    """The packages of a lock that are for this Python and this system."""
    lines = re.findall(r"^([a-z0-9][^\\\n]*?) *\\?$", (REPOSITORY / file).read_text(), re.MULTILINE)
    found = [Requirement(line) for line in lines]
    return [each for each in found if each.marker is None or each.marker.evaluate()]


def licences(package: str) -> list[str]:
    """As its metadata has them: an SPDX expression, else classifiers, else free text."""
    about = metadata.metadata(package)
    if expression := about.get("License-Expression"):
        return [each.strip("() ") for each in re.split(r" (?:AND|OR) ", expression)]
    classifiers = [each.rpartition(" :: ")[2] for each in about.get_all("Classifier", []) if each[:7] == "License"]
    return classifiers or [about.get("License") or "none"]


@pytest.mark.parametrize("package", locked("requirements.lock"), ids=lambda each: each.name)
def test_a_shipped_package_may_be_shipped(package: Requirement) -> None:
    said = licences(package.name)
    assert said
    assert [each for each in said if not ALLOWED.fullmatch(each)] == []
    assert str(package.specifier) == f"=={metadata.version(package.name)}", "what is looked at is what is locked"


def test_the_lock_is_read_whole() -> None:
    """The direct dependencies are in it, and nothing of the tests."""
    names = {each.name for each in locked("requirements.lock")}
    assert {"aiohttp", "aiokafka", "kopf", "kubernetes", "pydantic", "pyyaml", "prometheus-client"} <= names
    assert "pytest" not in names
