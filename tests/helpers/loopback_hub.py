"""A model hub on the loopback interface, so that the real download code draws its real bars without a network."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "hatchery/tiny"
CHUNK = 1 << 16


@contextmanager
def loopback_hub(root: Path, *, bytes_per_s: float) -> Iterator[str]:
    """Serve the files below `root` as the repository `REPOSITORY`, each at `bytes_per_s`; yields the `HF_ENDPOINT`.

    It answers the four requests of `snapshot_download` of huggingface_hub 1.x: revision, tree, and a file's HEAD and
    GET (plain HTTP, not Xet).
    """
    hub = ThreadingHTTPServer(("127.0.0.1", 0), _handler(root, bytes_per_s))
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{hub.server_address[1]}"
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


def _handler(root: Path, bytes_per_s: float) -> type[BaseHTTPRequestHandler]:
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith(f"/api/models/{REPOSITORY}/revision/"):
                siblings = [{"rfilename": name} for name in files]
                self._answer_json({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings})
            elif path.startswith(f"/api/models/{REPOSITORY}/tree/"):
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                    for name, data in files.items()
                ]
                self._answer_json(tree)
            else:
                self._answer_file(path)

        def do_HEAD(self) -> None:
            self.do_GET()

        def _answer_json(self, value: object) -> None:
            body = json.dumps(value).encode()
            self._answer_head(len(body), {"Content-Type": "application/json"})
            self.wfile.write(body)

        def _answer_file(self, path: str) -> None:
            data = files.get(path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/"))
            if data is None:
                self.send_error(404)
                return
            self._answer_head(len(data), {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": COMMIT})
            if self.command == "HEAD":
                return
            for start in range(0, len(data), CHUNK):
                chunk = data[start : start + CHUNK]
                time.sleep(len(chunk) / bytes_per_s)
                self.wfile.write(chunk)

        def _answer_head(self, length: int, headers: dict[str, str]) -> None:
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing: the caller's terminal is what is being recorded."""

    return Handler


def _etag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
