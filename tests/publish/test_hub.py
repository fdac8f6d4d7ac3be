"""Pushing: one commit of exactly the folder; whatever the hub refuses is one message."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from models.checkpoint import fault_of
from publish.errors import PublishError
from publish.run import publish
from tests.publish.hub import Hub, running_hub
from tests.publish.worlds import SIMULATED, trained_on

REPO = "lab/floods"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield hub


def test_a_push_is_one_commit_of_the_folder_into_a_private_repository(
    tmp_path: Path, run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o"
    given: dict[str, Any] = {"base_id": "lab/b", "dataset": trained_on(tmp_path / "d", SIMULATED)}
    publish(checkpoint=run, out=out, **given)
    assert hub.asked == []  # nothing without being asked
    (out / "README.md").write_text((out / "README.md").read_text() + "\nEdited.\n")
    publish(checkpoint=run, out=out, push_to_hub=REPO, **given)
    assert hub.files[REPO] == {path.relative_to(out).as_posix(): path.read_bytes()
                               for path in out.rglob("*") if path.is_file()}  # fmt: skip
    assert b"Edited." in hub.files[REPO]["README.md"] and hub.private[REPO]
    assert (
        sum("/commit/" in line for line in hub.asked) == 1
        and f"{hub.address}/{REPO}/commit/1" in capsys.readouterr().out
    )
    publish(checkpoint=run, out=out, push_to_hub=REPO, **given)  # again into its own


@pytest.mark.parametrize(
    ("refuses", "left"), [("/tree/", "Nothing was published"), ("/create", "Nothing was published"),
                          ("/preupload/", "is empty"), ("/commit/", "is empty")],
)  # fmt: skip
def test_a_hub_that_refuses_is_one_message(tmp_path: Path, run: Path, hub: Hub, refuses: str, left: str) -> None:
    hub.refuses = refuses
    given: dict[str, Any] = {"base_id": "lab/b", "dataset": trained_on(tmp_path / "d", SIMULATED)}
    with pytest.raises(PublishError, match=rf"push_to_hub {REPO}: the hub did not take it .*{left}") as raised:
        publish(checkpoint=run, out=tmp_path / "o", push_to_hub=REPO, **given)
    assert "\n" not in str(raised.value) and not hub.files.get(REPO)
    assert fault_of(tmp_path / "o") is None  # the folder is complete
    hub.refuses = ""
    publish(checkpoint=run, out=tmp_path / "o", push_to_hub=REPO, **given)
    assert "README.md" in hub.files[REPO]


def test_without_a_token_or_a_hub(tmp_path: Path, run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"base_id": "lab/b", "dataset": trained_on(tmp_path / "d", SIMULATED)}
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its attempts
    with pytest.raises(PublishError, match="the hub did not take it"):
        publish(checkpoint=run, out=tmp_path / "o", push_to_hub=REPO, **given)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="offline mode"):
        publish(checkpoint=run, out=tmp_path / "o", push_to_hub=REPO, **given)
    assert hub.files == {}


def test_another_model_is_not_overwritten(tmp_path: Path, run: Path, hub: Hub) -> None:
    hub.files[REPO] = {"model.safetensors": b"theirs", "README.md": b"theirs"}
    with pytest.raises(PublishError, match=r"holds another model \(model\.safetensors\)"):
        publish(checkpoint=run, out=tmp_path / "o", push_to_hub=REPO, base_id="lab/b",
                dataset=trained_on(tmp_path / "d", SIMULATED))  # fmt: skip
    assert hub.files[REPO] == {"model.safetensors": b"theirs", "README.md": b"theirs"}
