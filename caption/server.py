"""One client of the OpenAI chat protocol, which vLLM, SGLang, `transformers serve` and others speak."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import numpy as np

from caption.errors import CaptionError
from caption.options import Writer
from data.imagery.encode import data_uri
from data.strict_json import as_json

TRIES = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
TIMEOUT_S = 300.0  # for an answer
REFUSED = {401: "wants another key in OPENAI_API_KEY", 403: "refuses", 404: "knows no such address or model"}
T = TypeVar("T")
Answer = tuple[str, bool]
Question = tuple[Sequence[Any], str]  # images and prompt


class Unanswered(Exception):  # a fault of one request, which the run survives
    """No usable answer after all tries."""


class ChatClient:
    """Asks a server, several questions at once, and again after a fault, later each time."""

    def __init__(self, writer: Writer) -> None:
        """Nothing is asked yet."""
        self.writer = writer
        address = writer.server.rstrip("/")
        self.url = address if address.endswith("/chat/completions") else f"{address}/chat/completions"
        self.failed: list[str] = []  # what was not answered and why

    def answers(
        self, tasks: Sequence[T], names: Sequence[str], questions: Sequence[Question]
    ) -> Iterator[tuple[T, Answer]]:
        """Answers as they come; what stays without one is in `failed`.

        Raises:
            CaptionError: the server refuses all alike.
        """
        with ThreadPoolExecutor(self.writer.concurrency) as pool:
            bodies = [as_json(self._body(*question), None).encode() for question in questions]
            asked: dict[Future[Answer], int] = {pool.submit(self._ask, body): i for i, body in enumerate(bodies)}
            try:
                for future in as_completed(asked):
                    position = asked[future]
                    try:
                        yield tasks[position], future.result()
                    except Unanswered as fault:
                        self.failed.append(f"{names[position]}: {fault}")
            finally:
                pool.shutdown(cancel_futures=True)

    def _body(self, images: Sequence[Any], prompt: str) -> dict[str, Any]:
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": data_uri(np.asarray(image), "png")}} for image in images
        ]
        body = {
            "model": self.writer.model,
            "messages": [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}],
            "max_tokens": self.writer.max_new_tokens,
            "temperature": self.writer.temperature,
        }
        return body | ({"seed": self.writer.seed} if self.writer.temperature else {})

    def _ask(self, body: bytes) -> Answer:
        fault, wait = "", FIRST_WAIT_S
        for attempt in range(TRIES):
            if attempt:
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_S)
            try:
                return parsed(self._post(body))
            except urllib.error.HTTPError as error:
                error.close()
                fault = f"HTTP {error.code} {error.reason}"
                if error.code in REFUSED:
                    raise CaptionError(f"{self.url} {REFUSED[error.code]} ({fault}).") from None
                if error.code < 500 and error.code not in (408, 409, 425, 429):
                    raise Unanswered(fault) from None  # it would refuse the same again
                if (seconds := error.headers.get("Retry-After", "")).isdigit():
                    wait = min(max(wait, float(seconds)), LONGEST_WAIT_S)
            except (OSError, http.client.HTTPException, ValueError) as error:
                fault = f"{type(error).__name__}: {error}"
        raise Unanswered(f"{fault}, after {TRIES} tries")

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            content: bytes = response.read()
        return content


def parsed(content: bytes) -> Answer:
    """The text of an answer, and whether the model ended it.

    Raises:
        ValueError: it is none.
    """
    try:
        choice = json.loads(content)["choices"][0]
        text = choice["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"an answer without {error}") from None
    if not isinstance(text, str) or not text.strip():
        raise ValueError("an empty answer")
    return text, choice.get("finish_reason") != "length"
