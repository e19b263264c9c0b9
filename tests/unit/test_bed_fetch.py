"""Parts of the test bed are only taken whole and verified."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import fetch
from bed.jvm import _sha512
from bed.processes import free_port


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback that serves one file, `part`."""
    (tmp_path / "part").write_bytes(b"program")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_download_with_the_published_hash_is_kept(site: str, tmp_path: Path) -> None:
    """The file arrives as served when its hash is the published one."""
    to = tmp_path / "got"
    fetch.download(f"{site}/part", to, digest=hashlib.sha256(b"program").hexdigest().upper())
    assert to.read_bytes() == b"program"


def test_a_download_with_another_hash_is_refused_and_removed(site: str, tmp_path: Path) -> None:
    """A file that is not the published one does not stay."""
    to = tmp_path / "got"
    with pytest.raises(fetch.PartUnavailable, match="published is 00"):
        fetch.download(f"{site}/part", to, digest="00" * 32)
    assert not to.exists()


def test_a_host_that_refuses_is_asked_once(site: str) -> None:
    """A missing file says nothing about its host, but a host without an answer is not tried again."""
    with pytest.raises(fetch.PartUnavailable, match="404"):
        fetch.read_text(f"{site}/absent")
    assert fetch.read_text(f"{site}/part") == "program"

    nobody = f"127.0.0.1:{free_port()}"
    with pytest.raises(fetch.PartUnavailable, match="refused"):
        fetch.read_text(f"http://{nobody}/part")
    late = http.server.ThreadingHTTPServer(
        ("127.0.0.1", int(nobody.rpartition(":")[2])), http.server.SimpleHTTPRequestHandler
    )
    with late, pytest.raises(fetch.PartUnavailable, match="refused"):
        fetch.read_text(f"http://{nobody}/part")


def test_nothing_half_made_is_left(tmp_path: Path) -> None:
    """The folder in which a part is made goes away, also when making it fails."""

    def make() -> None:
        with fetch.scratch(tmp_path / "part") as folder:
            (folder / "half").write_text("…")
            raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        make()
    assert list(tmp_path.iterdir()) == []


def test_apache_checksum_files_are_read_in_both_forms() -> None:
    """The digest is found in grouped lines after the name as well as before the name."""
    digest = hashlib.sha512(b"program").hexdigest()
    groups = " ".join(digest[i : i + 8].upper() for i in range(0, 128, 8))
    grouped = f"kafka.tgz: {groups[:70]}\n   {groups[70:]}\n"
    assert _sha512(grouped).lower() == digest
    assert _sha512(f"{digest}  kafka.tgz\n") == digest
    with pytest.raises(fetch.PartUnavailable):
        _sha512("<html>not found</html>")
