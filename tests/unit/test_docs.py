"""The documentation: it builds strictly, its links and words are right, and what is generated is up to date."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from enum import StrEnum
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from bed.paths import REPOSITORY
from consumer_autoscaler.decision import reasons
from consumer_autoscaler.resource.spec import parse
from pages import alerts, metrics, reliability, resource, settings
from pages.blocks import block_with, blocks
from pages.nav import expanded

DOCS = REPOSITORY / "docs"
ROOT_PAGES = [REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
SPELLED = ["docs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", ".github",
           "operator", "deploy", "crds"]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does; a broken link, a missing anchor or a page that is not in the navigation ends it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class References(HTMLParser):
    """What a page loads, what it links to, and the anchors that it has."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and "href" in values and values.get("rel") != "canonical":
            self.loaded.append(values["href"])
        elif "src" in values:
            self.loaded.append(values["src"])


def test_the_site_needs_nothing_from_elsewhere(site: Path) -> None:
    """No fonts, scripts or pictures of other hosts: readers are not followed, and it works without a network."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        foreign = [url for url in References(page).loaded if urlsplit(url).netloc]
        assert foreign == [], page.name


def test_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    """To a file that is there and an anchor that it has, in the pages as they were built."""
    pages = {page: References(page) for page in site.rglob("*.html") if page.name != "404.html"}
    for page, here in pages.items():
        for link in here.links + here.loaded:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (page.parent / unquote(url.path)).resolve() if url.path else page
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{page.name}: {link}"
            if url.fragment and target in pages:
                assert unquote(url.fragment) in pages[target].anchors, f"{page.name}: {link}"


def test_links_of_the_pages_at_the_root_lead_somewhere() -> None:
    """They are read on the project's page, where the site's check does not reach."""
    for page in ROOT_PAGES:
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            if not urlsplit(link).scheme and not link.startswith("#"):
                assert (page.parent / link.partition("#")[0]).exists(), f"{page.name}: {link}"


def test_the_words_are_spelled_right() -> None:
    there = [path for path in SPELLED if (REPOSITORY / path).exists()]
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *there], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "render"),
    [
        ("resource", resource.render),
        ("settings", settings.render),
        ("metrics", metrics.render),
        ("alerts", alerts.render),
        ("reliability", reliability.render),
    ],
)
def test_pages_that_are_generated_are_up_to_date(name: str, render: Callable[[], str]) -> None:
    """`make docs` renews them."""
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == render()


@pytest.mark.parametrize(
    "words",
    [each for each in vars(reasons).values() if isinstance(each, type) and each.__name__.endswith("Reason")],
    ids=lambda words: words.__name__,
)
def test_every_word_of_the_operator_is_explained(words: type[StrEnum]) -> None:
    """As code, so that it can be looked for."""
    page = (DOCS / "reasons.md").read_text(encoding="utf-8")
    assert [word.value for word in words if f"`{word.value}`" not in page] == []


def test_patterns_of_the_navigation_become_pages(tmp_path: Path) -> None:
    """In the order of their names; a section without pages is left out."""
    (tmp_path / "runbooks").mkdir()
    for name in ("b.md", "a.md"):
        (tmp_path / "runbooks" / name).touch()
    entries = ["index.md", {"Runbooks": ["runbooks/*.md"]}, {"None": ["none*.md"]}]
    assert expanded(entries, tmp_path) == ["index.md", {"Runbooks": ["runbooks/a.md", "runbooks/b.md"]}]


def test_resources_that_are_shown_are_valid() -> None:
    """Every complete ConsumerAutoscaler in the pages, by the operator's own reading."""
    shown = 0
    for page in [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]:
        for text in [*blocks(page, "yaml"), *blocks(page, "sh")]:
            for body in _documents(text):
                if body.get("kind") == "ConsumerAutoscaler":
                    body["metadata"] = {"namespace": "shop", "uid": "u", "generation": 1, **body["metadata"]}
                    parse(body)
                    shown += 1
    assert shown >= 2


def _documents(text: str) -> list[dict[str, object]]:
    """The YAML in a block: all of it, or what a here-document has."""
    here = re.search(r"<<EOF\n(.*?)^EOF$", text, re.MULTILINE | re.DOTALL)
    if here is not None:
        text = here[1].replace("$KAFKA", "kafka:9092")
    try:
        return [body for body in yaml.safe_load_all(text) if isinstance(body, dict) and "kind" in body]
    except yaml.YAMLError:
        return []  # commands


def test_the_form_of_blocks_is_read_as_readers_see_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\na\nb\n```\ntext\n```python title\nc\n```\n```\nd\n```\n", encoding="utf-8")
    assert (blocks(page, "sh"), blocks(page, "python")) == (["a\nb\n"], ["c\n"])
    assert block_with(page, "sh", "b") == "a\nb\n"
    with pytest.raises(ValueError, match="0 blocks"):
        block_with(page, "sh", "c")
