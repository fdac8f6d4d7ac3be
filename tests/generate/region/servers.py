"""A server of files on this machine: whole, in parts, or with faults.

In a process of its own: GDAL keeps Python's lock while it opens a file, and waits for the answer.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

NOW = {"faults": 0, "status": 503, "in_parts": True}  # how many of the next requests fail with which status


@dataclass(frozen=True)
class Files:
    """What is served; what the server was asked for."""

    address: str
    control: Path

    def set(self, **now: object) -> None:
        """From now on."""
        (self.control / "now.json").write_text(json.dumps(NOW | now))

    @property
    def asked(self) -> list[str]:
        """Paths, one a request."""
        return (self.control / "asked").read_text().splitlines()


@contextmanager
def served(folder: Path, control: Path) -> Iterator[Files]:
    """A server of the files of a folder, within the block."""
    control.mkdir()
    (control / "asked").touch()
    command = [sys.executable, __file__, str(folder), str(control)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        files = Files(server.stdout.readline().strip(), control)
        files.set()
        try:
            yield files
        finally:
            server.kill()


def serve(folder: Path, control: Path) -> None:
    """Until it is killed."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_content=False)

        def do_GET(self) -> None:
            self._answer(with_content=True)

        def _answer(self, *, with_content: bool) -> None:
            with (control / "asked").open("a") as asked:
                asked.write(f"{self.path}\n")
            now = json.loads((control / "now.json").read_text())
            path = folder / self.path.partition("?")[0].lstrip("/")
            if now["faults"] or not path.is_file():
                if now["faults"]:  # before the answer, after which the test may set it anew
                    (control / "now.json").write_text(json.dumps(now | {"faults": now["faults"] - 1}))
                self.send_error(now["status"] if now["faults"] else 404)
                return
            content = path.read_bytes()
            part = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if part and now["in_parts"]:
                total = len(content)
                first = int(part[1]) if part[1] else max(0, total - int(part[2]))
                last = min(int(part[2]), total - 1) if part[1] and part[2] else total - 1
                content = content[first : last + 1]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_content:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
