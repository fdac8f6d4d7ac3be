"""A stand-in for the Hugging Face hub: repositories in memory, as much of its protocol as a push uses."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """What it holds, and what it refuses."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)  # repository -> path -> content
    private: dict[str, bool] = field(default_factory=dict)
    refuses: str = ""  # a part of the addresses that are answered with 403
    asked: list[str] = field(default_factory=list)
    address: str = ""


@contextmanager
def running_hub() -> Iterator[Hub]:
    """On a port of this machine."""
    hub = Hub()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, *_: Any) -> None:
            """Not on the terminal."""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path = self.path.partition("?")[0]
            hub.asked.append(f"{self.command} {path}")
            if hub.refuses and hub.refuses in path:
                return self._say(403, {"error": "You have read access only."})
            if not (self.headers.get("authorization") or "").startswith("Bearer "):
                return self._say(401, {"error": "Invalid username or password."})
            return self._say(*reply(hub, path, body))

        def _say(self, status: int, content: Any) -> None:
            text = json.dumps(content).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(hub: Hub, path: str, body: bytes) -> tuple[int, Any]:
    """Status and content."""
    if path == "/api/repos/create":
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        hub.files[repo], hub.private[repo] = {}, bool(asked.get("private") or asked.get("visibility") == "private")
        return 200, {"url": f"{hub.address}/{repo}"}
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    repo = "/".join(path.split("/")[3:5])
    if repo not in hub.files:
        return 404, {"error": "Repository not found"}
    if "/tree/" in path:
        entries = [{"type": "file", "path": name, "size": len(x), "oid": "0"} for name, x in hub.files[repo].items()]
        return 200, entries
    if "/preupload/" in path:
        names = [one["path"] for one in json.loads(body)["files"]]
        return 200, {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
    if "/commit/" in path:
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                hub.files[repo][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return 200, {"commitUrl": f"{hub.address}/{repo}/commit/1", "commitOid": "1" * 40, "success": True}
    return 200, {"id": repo, "sha": "1" * 40, "private": hub.private.get(repo), "siblings": []}
