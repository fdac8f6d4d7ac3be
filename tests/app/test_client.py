"""Over the network: the same bytes as the command, mistakes as messages, two at once."""

import inspect
import threading
from pathlib import Path
from typing import Any

import pytest

from app.picks import Picks
from generate.run import generate
from generate.sampling import Sampling
from tests.app.test_pictures import write_hostile
from tests.generate.scenes.test_scene import write_geotiff
from tests.generate.worlds import RESOLUTION, write_image

httpx = pytest.importorskip("httpx")
gradio_client = pytest.importorskip("gradio_client", reason="the extra `app` is not installed")
Handlers = pytest.importorskip("app.handlers").Handlers
pytestmark = pytest.mark.filterwarnings("default")  # of the server's libraries

PROMPT = "after a flood"
SETTINGS = {"seed": 5, "steps": 2, "sampler": "dpm++", "samples": 2, "guidance": 1, "control": 1, "watermark": False}
FILES = 4  # in what `generate` returns


def client(address: str, folder: Path) -> Any:
    return gradio_client.Client(address, verbose=False, download_files=folder, analytics_enabled=False)


def asked(model: Path | str, **given: Any) -> dict[str, Any]:
    unset = dict.fromkeys(("upload", "real", "painting"))
    metadata = {"lon": 0, "lat": 0, "gsd": 1, "cloud_cover": 0, "year": 2018, "month": 6, "day": 1}
    fixed = {"paint": False, "pick": "", "words": "", "use_metadata": False, "caption": PROMPT}
    return {"model": str(model), **unset, **fixed, **metadata, **SETTINGS, "api_name": "/generate", **given}


def written(value: Any) -> list[Path]:
    """The files of an answer, whichever way the client gives them."""
    files = value["value"] if isinstance(value, dict) else value
    return [Path(file) for file in files]


@pytest.mark.parametrize("kind", ["png", "geotiff"])
def test_the_same_file_as_by_the_command(
    kind: str, address: str, tmp_path: Path, runs: Path, micro_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, pixels and tags."""
    if kind == "png":
        pre = write_image(tmp_path / "place.png")
    else:
        pre = write_geotiff(tmp_path / "place.tif", RESOLUTION, RESOLUTION + 9)
    answer = client(address, tmp_path / "got").predict(**asked(runs / "plain", upload=gradio_client.handle_file(pre)))
    monkeypatch.chdir(tmp_path)
    sampling = Sampling(steps=2, samples=2, seed=5, scheduler="dpm++")
    generate(
        checkpoint=runs / "plain", base=str(micro_base), pre=Path(pre.name), out=tmp_path / "command", prompt=PROMPT,
        sampling=sampling,
    )  # fmt: skip
    got = {file.name: file.read_bytes() for file in written(answer[FILES])}
    assert got == {file.name: file.read_bytes() for file in (tmp_path / "command").iterdir()}
    assert len(got) == 3


def test_mistakes_are_messages_and_the_queue_goes_on(address: str, tmp_path: Path, runs: Path, picks: Picks) -> None:
    """Also a caption of 10,000 letters and a model that is no choice."""
    visitor = client(address, tmp_path / "got")
    for path, said in write_hostile(tmp_path).values():
        if path.name in ("gone.png", "large.png"):  # the client has none, the server takes no more
            continue
        with pytest.raises(gradio_client.exceptions.AppError, match=said.partition(";")[0]):
            visitor.predict(**asked(runs / "plain", upload=gradio_client.handle_file(path)))
    for given, said in (
        ({"pick": "nowhere"}, "nowhere"),
        ({"caption": "flood " * 1666, "pick": picks.names()[0]}, "more than the 77 tokens"),
        ({}, "no pre-disaster image yet"),
        ({"model": "/etc"}, "/etc"),
    ):
        with pytest.raises(gradio_client.exceptions.AppError, match=said):
            visitor.predict(**(asked(runs / "plain") | given))
    assert written(visitor.predict(**asked(runs / "plain", upload=_handled(tmp_path)))[FILES])


def test_a_file_of_the_server_is_no_upload(address: str, tmp_path: Path, runs: Path, own: Path) -> None:
    """Neither by its path, nor by one that climbs out of the uploads; without a client, which would upload it."""
    secret = write_image(tmp_path / "secret.png")
    for path in (str(secret), f"{own}/cache/../../{secret}"):
        forged = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "../../x.png"}
        given = asked(runs / "plain", upload=forged)
        data = [given[name] for name in inspect.signature(Handlers.generate).parameters if name in given]
        call = f"{address}/gradio_api/call/generate"
        event = httpx.post(call, json={"data": data}, timeout=60).json()["event_id"]
        answer = httpx.get(f"{call}/{event}", timeout=300).text
        assert "event: error" in answer and "event: complete" not in answer


def test_two_visitors_at_once(address: str, tmp_path: Path, runs: Path) -> None:
    """Both get theirs, and different ones."""
    found: dict[int, bytes] = {}

    def visit(seed: int) -> None:
        visitor = client(address, tmp_path / f"got{seed}")
        answer = visitor.predict(**asked(runs / "plain", upload=_handled(tmp_path), seed=seed, samples=1))
        found[seed] = written(answer[FILES])[0].read_bytes()

    write_image(tmp_path / "place.png")
    both = [threading.Thread(target=visit, args=[seed]) for seed in (1, 2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert set(found) == {1, 2} and found[1] != found[2]


def test_nothing_is_left_where_the_tests_run(address: str, own: Path) -> None:
    """What the page wrote is below its folder: uploads and copies in `cache`, jobs in `jobs`."""
    assert {"cache", "jobs"} <= {path.name for path in own.iterdir()}
    assert not (Path.cwd() / ".gradio").exists()


def _handled(folder: Path) -> Any:
    path = folder / "place.png"
    return gradio_client.handle_file(path if path.exists() else write_image(path))
