"""A server that answers in every wrong way first: each caption arrives once, or is named."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.import_utils import is_serve_available

from caption import server
from caption.errors import CaptionError
from caption.options import Writer
from caption.run import caption

TEXT = "Roads and trees lie in the view."
FAULTS = ("429", "500", "empty", "broken", "closed", "slow", "nothing")


class Stub(ThreadingHTTPServer):
    """Answers a question only after it has failed it in `faults` of the ways, another one first for every question."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: dict[bytes, int] = {}
        self.order: list[bytes] = []
        self.faults, self.always = 2, ""  # `always`: of the first question
        self.ended, self.guard = threading.Event(), threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def log_message(self, *_: Any) -> None:
        """Nothing on the screen."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.guard:
            tries = self.server.asked[body] = self.server.asked.get(body, 0) + 1
            if tries == 1:
                self.server.order.append(body)
            number = self.server.order.index(body)
        if number == 0 and self.server.always:
            return self.fail(self.server.always)
        if tries <= self.server.faults:
            return self.fail(FAULTS[(number + tries) % len(FAULTS)])
        choice = {"message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
        self.send(200, json.dumps({"choices": [choice]}).encode())

    def fail(self, how: str) -> None:
        if how == "slow":
            self.server.ended.wait()
        elif how == "closed":
            self.close_connection = True
            self.connection.close()
        elif how.isdigit():
            self.send(int(how), b"", {"Retry-After": "7"})
        else:
            empty = json.dumps({"choices": [{"message": {"content": " "}}]}).encode()
            self.send(200, {"empty": empty, "broken": b'{"choices": [', "nothing": b"{}"}[how])

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    with Stub() as found:
        monkeypatch.setattr(server, "TIMEOUT_S", 1.0)
        monkeypatch.setattr("time.sleep", lambda _: None)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.ended.set()
        found.shutdown()
        thread.join()


def run(dataset: Path, stub: Stub, out: Path) -> list[dict[str, str]]:
    caption(dataset=dataset, out=out, target="post", writer=Writer(model="some-vlm", server=stub.url, concurrency=4))
    return lines(out)


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_caption_arrives_once_whatever_happens_first(dataset: Path, tmp_path: Path, stub: Stub) -> None:
    found = run(dataset, stub, tmp_path / "out.jsonl")
    assert len(found) == 20 and {line["text"] for line in found} == {TEXT}
    assert {line["model"] for line in found} == {"some-vlm"}
    made = lines(tmp_path / "out.jsonl.made" / "process-000.jsonl")
    assert len(made) == len({line["key"] for line in made}) == len(stub.asked)
    assert set(stub.asked.values()) == {3}  # two faults each, then the answer; patches without labels may look alike


def test_what_never_arrives_is_named_and_asked_for_again(dataset: Path, tmp_path: Path, stub: Stub) -> None:
    stub.always, stub.faults = "500", 0
    with pytest.raises(CaptionError, match=r"1 captions were not made: .*_32 \(post\): HTTP 500 .* after 6 tries"):
        run(dataset, stub, tmp_path / "out.jsonl")
    first = lines(tmp_path / "out.jsonl")
    missing = len(stub.asked) - 1
    assert len(lines(tmp_path / "out.jsonl.made" / "process-000.jsonl")) == missing
    assert stub.asked[stub.order[0]] == server.TRIES
    stub.always = ""
    found = run(dataset, stub, tmp_path / "out.jsonl")
    assert len(found) == 20 > len(first) and sum(stub.asked.values()) == missing + server.TRIES + 1


def test_a_request_that_is_wrong_is_not_repeated(dataset: Path, tmp_path: Path, stub: Stub) -> None:
    stub.always, stub.faults = "400", 0
    with pytest.raises(CaptionError, match=r"1 captions were not made: .*HTTP 400"):
        run(dataset, stub, tmp_path / "out.jsonl")
    assert stub.asked[stub.order[0]] == 1


@pytest.mark.parametrize(
    ("status", "why"), [("404", "knows no such address or model"), ("401", "wants another key in OPENAI_API_KEY")]
)
def test_a_server_that_refuses_all_stops_the_run(
    dataset: Path, tmp_path: Path, stub: Stub, status: str, why: str
) -> None:
    stub.always, stub.faults = status, 0
    with pytest.raises(CaptionError, match=rf"/v1/chat/completions {why} \(HTTP {status}"):
        run(dataset, stub, tmp_path / "out.jsonl")


def test_the_wait_doubles_and_follows_the_server(
    dataset: Path, tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    stub.always, stub.faults = "500", 0  # with Retry-After: 7
    writer = Writer(model="some-vlm", server=stub.url)
    with pytest.raises(CaptionError, match="not made"):
        caption(dataset=dataset, out=tmp_path / "out.jsonl", limit=1, split="test", writer=writer)
    assert waits == [7, 14, 28, 56, 60]


def test_the_images_and_the_prompt_are_asked_as_the_protocol_has_it(dataset: Path, tmp_path: Path, stub: Stub) -> None:
    stub.faults = 0
    writer = Writer(model="some-vlm", server=stub.url + "/", max_new_tokens=9)
    caption(dataset=dataset, out=tmp_path / "out.jsonl", target="change", limit=1, style="sentence", writer=writer)
    (body,) = map(json.loads, stub.asked)
    first, second, prompt = body["messages"][0]["content"]
    assert first["image_url"]["url"].startswith("data:image/png;base64,iVBOR") and first != second
    assert prompt["type"] == "text" and prompt["text"].startswith("The first satellite image")
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("some-vlm", 9, 0.0)


@pytest.mark.slow
@pytest.mark.skipif(not is_serve_available(), reason="needs transformers[serving]")
def test_a_real_server_gives_what_the_model_gives_in_this_process(dataset: Path, llava: Path, tmp_path: Path) -> None:
    """The client itself waits until the server is up."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = [str(Path(sys.executable).with_name("transformers")), "serve", str(llava), "--device", "cpu"]
    serve += ["--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    ways = {"here": "", "served": f"http://127.0.0.1:{port}/v1"}
    process = subprocess.Popen(serve, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    try:
        for name, url in ways.items():
            writer = Writer(model=str(llava), server=url, max_new_tokens=8, concurrency=2)
            caption(dataset=dataset, out=tmp_path / f"{name}.jsonl", target="pre,post,change", limit=6, writer=writer)
    finally:
        process.kill()
        process.wait()
    for ending in (".jsonl", ".quarantined.jsonl"):
        here, served = (lines(tmp_path / f"{name}{ending}") for name in ways)
        assert [line["text"] for line in here] == [line["text"] for line in served]
