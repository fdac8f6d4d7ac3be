"""What is read over the network: documents by urllib, images by GDAL's own HTTP. Only what a plan names."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

from data.documents import MAX_BYTES
from generate.errors import GenerateError

TRIES = 5
FIRST_WAIT_S = 1.0  # doubled at every try
TIMEOUT_S = 60
GDAL_OPTIONS = {
    "GDAL_HTTP_MAX_RETRY": str(TRIES - 1),
    "GDAL_HTTP_RETRY_DELAY": str(FIRST_WAIT_S),
    "GDAL_HTTP_TIMEOUT": str(TIMEOUT_S),
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
}
_AGAIN = (408, 425, 429)


def is_address(name: str) -> bool:
    """Whether it is to be read over the network."""
    return name.lower().startswith(("http://", "https://"))


def fetched(address: str) -> bytes:
    """A document of at most MAX_BYTES.

    Raises:
        GenerateError: the server does not answer, refuses, or the document is longer.
    """
    content, _ = _get(address, {}, MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise GenerateError(f"{address}: more than {MAX_BYTES:,} bytes. Save a smaller collection to a file.")
    return content


def ends_of(address: str, count: int) -> bytes:
    """The length of a file, and the first and the last `count` bytes of it.

    Raises:
        GenerateError: see `fetched`; or the server does not serve parts of files, without which no window is read.
    """
    found = [_get(address, {"Range": f"bytes={part}"}, count) for part in (f"0-{count - 1}", f"-{count}")]
    lengths = {headers.get("Content-Range", "").rpartition("/")[2] for _, headers in found}
    if len(lengths) > 1 or not lengths.pop().isdecimal():
        raise GenerateError(f"{address}: its server does not serve parts of files (HTTP ranges). Download it.")
    return found[0][1]["Content-Range"].rpartition("/")[2].encode() + found[0][0] + found[1][0]


def _get(address: str, headers: Mapping[str, str], most: int) -> tuple[bytes, Mapping[str, str]]:
    """Up to so many bytes of an answer, and its headers; asked again after a fault, later each time."""
    fault = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        try:
            request = urllib.request.Request(address, headers=dict(headers))
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                content = response.read(most)
                if len(content) < min(most, int(response.headers.get("Content-Length", 0))):
                    raise OSError("the answer ends too early")
                return content, response.headers
        except urllib.error.HTTPError as error:
            error.close()
            fault = f"HTTP {error.code} {error.reason}"
            if error.code < 500 and error.code not in _AGAIN:
                raise GenerateError(f"{address}: {fault}. Check the address, and whether it needs a key.") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            fault = str(getattr(error, "reason", error)) or type(error).__name__
    raise GenerateError(
        f"{address}: no answer ({fault}), {TRIES} times. The same command continues later; or download the files."
    )
