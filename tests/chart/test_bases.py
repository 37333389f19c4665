"""The digests of the base images, asked of a registry: here a twin that speaks the distribution protocol over HTTP."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.chart.charting import ROOT

SCRIPT = ROOT / "deploy" / "images" / "refresh_bases.py"
SECONDS = 60
INDEX = "application/vnd.oci.image.index.v1+json"
TOKEN = "anybody-may-read"


def an_index(architecture: str = "amd64", kind: str = INDEX) -> bytes:
    one = {"digest": f"sha256:{'1' * 64}", "platform": {"os": "linux", "architecture": architecture}}
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [one]}).encode()


@dataclass
class Registry:
    """What it holds under `path:tag`, and how it answers."""

    held: dict[str, bytes] = field(default_factory=dict)
    challenge: str = 'Bearer realm="{url}/token",service="twin",scope="repository:{path}:pull"'
    says: str | None = None  # a digest other than the true one
    asked: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


@pytest.fixture
def registry() -> Iterator[Registry]:
    twin = Registry()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            twin.asked.append(self.path)
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            if path == "/token":
                return self._give(json.dumps({"token": f"{TOKEN}:{query['scope'][0]}"}).encode())
            name, _, tag = path.removeprefix("/v2/").partition("/manifests/")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}:repository:{name}:pull":
                return self._refuse(401, twin.challenge.format(url=twin.url, path=name))
            body = twin.held.get(f"{name}:{tag}")
            if body is None or INDEX not in self.headers["Accept"]:
                return self._refuse(404)
            return self._give(body, twin.says or "sha256:" + hashlib.sha256(body).hexdigest())

        def _give(self, body: bytes, digest: str | None = None) -> None:
            self.send_response(200)
            if digest:
                self.send_header("Docker-Content-Digest", digest)
            self.end_headers()
            self.wfile.write(body)

        def _refuse(self, code: int, challenge: str | None = None) -> None:
            self.send_response(code)
            if challenge:
                self.send_header("WWW-Authenticate", challenge)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    twin.url = f"http://127.0.0.1:{server.server_port}"
    yield twin
    server.shutdown()
    server.server_close()
    thread.join()


def bases(folder: Path, registry: Registry) -> Path:
    file = folder / "bases.env"
    file.write_text(
        f"# kept\nPYTHON_IMAGE={registry.host}/library/python:3.11\nPYTHON_DIGEST=\n"
        f"TRITON_IMAGE={registry.host}/nvidia/tritonserver:26.07-py3\nTRITON_DIGEST=sha256:{'0' * 64}\n"
    )
    return file


def refresh(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, file], capture_output=True, text=True, timeout=SECONDS, check=False, env={}
    )


def test_every_slot_is_filled_with_what_the_registry_has_under_the_tag(registry: Registry, tmp_path: Path) -> None:
    python, triton = an_index(), an_index("amd64", "application/vnd.docker.distribution.manifest.list.v2+json")
    registry.held = {"library/python:3.11": python, "nvidia/tritonserver:26.07-py3": triton}
    file = bases(tmp_path, registry)
    done = refresh(file)
    assert done.returncode == 0, done.stderr
    digests = ["sha256:" + hashlib.sha256(body).hexdigest() for body in (python, triton)]
    written = file.read_text().splitlines()
    assert (written[0], written[2], written[4]) == (
        "# kept",
        f"PYTHON_DIGEST={digests[0]}",
        f"TRITON_DIGEST={digests[1]}",
    )
    assert [line.split()[1] for line in done.stdout.splitlines()] == digests
    assert registry.asked.count("/token?scope=repository%3Alibrary%2Fpython%3Apull&service=twin") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"held": {"library/python:3.11": an_index()}}, "nvidia/tritonserver:26.07-py3: HTTPError: HTTP Error 404"),
        ({"says": f"sha256:{'f' * 64}"}, "and the registry calls it sha256:ffff"),
        ({"held": {"library/python:3.11": an_index("arm64")}}, "it is not built for linux/amd64"),
        ({"held": {"library/python:3.11": an_index(kind="text/html")}}, "text/html is no manifest of an image"),
        ({"held": {"library/python:3.11": b"<html>sign in</html>"}}, "library/python:3.11: JSONDecodeError"),
        ({"challenge": 'Basic realm="private"'}, "it asks for Basic instead of a token"),
        ({"challenge": 'Bearer realm="file:///etc/passwd"'}, "instead of a token"),
    ],
)
def test_what_is_not_as_it_should_be_is_told_in_one_line_and_nothing_is_written(
    registry: Registry, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    registry.held = {"library/python:3.11": an_index()}
    vars(registry).update(change)
    file = bases(tmp_path, registry)
    before = file.read_text()
    done = refresh(file)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert file.read_text() == before


def test_a_registry_that_nobody_answers_for_is_told_so(tmp_path: Path) -> None:
    file = tmp_path / "bases.env"
    file.write_text("PYTHON_IMAGE=127.0.0.1:1/library/python:3.11\nPYTHON_DIGEST=\n")
    done = refresh(file)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


def test_the_bases_of_our_images_are_named_in_full() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import refresh_bases as r, re\n"
        "text = r.BASES.read_text()\n"
        "print(*(r.Image.parse(name).url for name in re.findall(r'_IMAGE=(\\S+)', text)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, SCRIPT.parent], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert done.stdout.split() == [
        "https://registry-1.docker.io/v2/library/python/manifests/3.11-slim-trixie",
        "https://nvcr.io/v2/nvidia/tritonserver/manifests/26.07-py3",
    ]
