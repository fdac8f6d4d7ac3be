"""One module knows about file systems, and works without locks, links and flushes."""

import errno
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from data import storage
from data.errors import DataError
from tests.disks import Disk

NAMES = st.from_regex(r"[a-z]{1,3}(\.txt|\.json)?", fullmatch=True)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=9), max_size=6)


def grow(folder: Path, tree: dict[str, bytes]) -> dict[str, bytes]:
    """Write what fits of it (a name cannot be a file and a folder); what was written."""
    written = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        path = folder / name
        if not path.exists() and not any(parent.is_file() for parent in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            written[name] = content
    return written


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@given(old=st.binary(max_size=20) | st.none(), new=st.binary(max_size=20), fails=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_a_file_is_whole_or_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, old: bytes | None, new: bytes, fails: bool
) -> None:
    path = tmp_path_factory.mktemp("whole") / "file"
    if old is not None:
        path.write_bytes(old)
    try:
        with storage.whole(path) as partial:
            partial.write_bytes(new)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    right = old if fails else new
    assert files(path.parent) == ({} if right is None else {"file": right})


@pytest.mark.parametrize(("mask", "right"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, right: int) -> None:
    def private(path: Path) -> None:  # as safetensors writes
        other = path.with_name("private")
        os.close(os.open(other, os.O_CREAT, 0o600))
        other.replace(path)

    before = os.umask(mask)
    try:
        with storage.whole(tmp_path / "file") as partial:
            private(partial)
        with storage.whole_folder(tmp_path / "folder", lambda name: True) as new:
            (new / "in").mkdir()
            private(new / "in/file")
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "folder/in/file")} == {right}


def test_what_a_link_points_at_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link.html").symlink_to("far/report.html")
    (tmp_path / "link").symlink_to("far/folder")
    storage.write_text(tmp_path / "link.html", "text")
    with storage.whole_folder(tmp_path / "link", lambda name: True) as new:
        (new / "file").write_text("in it")
    assert files(tmp_path / "far") == {"report.html": b"text", "folder/file": b"in it"}
    assert (tmp_path / "link").is_symlink() and (tmp_path / "link.html").is_symlink()


@given(old=TREES, new=TREES, fails=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_folder_is_whole_or_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, old: dict[str, bytes], new: dict[str, bytes], fails: bool
) -> None:
    """What is not ours of a former folder stays too, under a name that a warning tells."""
    place = tmp_path_factory.mktemp("folders")
    old, written = grow(place / "folder", old), {}
    try:
        with storage.whole_folder(place / "folder", lambda name: not name.endswith(".txt")) as partial:
            written = grow(partial, new)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    there = files(place)
    right = {f"folder/{name}": content for name, content in (old if fails else written).items()}
    if not fails and any(part.endswith(".txt") for name in old for part in name.split("/")):
        right |= {f".folder.old/{name}": content for name, content in old.items()}
    assert there == right


@given(tree=TREES)
@settings(max_examples=40, deadline=None)
def test_only_a_folder_without_anything_of_others_is_deleted(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("remove") / "folder"
    written = grow(folder, tree)
    others = any(part.endswith(".txt") for name in written for part in name.split("/"))
    gone = storage.remove_folder(folder, lambda name: not name.endswith(".txt"))
    assert gone is not others
    assert files(folder) == (written if others else {})


def test_leftovers_of_a_kill_go_and_what_looks_alike_stays(tmp_path: Path) -> None:
    ours, others = (".a.new", ".a.old-2", ".b.new"), (".a.partial", ".a.new.txt", "a.new", ".ab.new", ".a.newer")
    for name in (*ours, *others):
        grow(tmp_path / name, {"weights": b"w"})
    grow(tmp_path / ".a.old", {"notes": b"mine"})
    grow(tmp_path / "a", {"weights": b"new"})
    (tmp_path / "far").mkdir()
    (tmp_path / "far/weights").write_text("w")
    (tmp_path / ".b.gone").symlink_to("far")
    storage.sweep(tmp_path, "a|b", lambda name: name == "weights")
    assert {path.name for path in tmp_path.iterdir()} == {*others, "a", ".a.old", "far", ".b.gone"}
    assert (tmp_path / "far/weights").exists()


def test_a_folder_that_was_being_replaced_is_back_after_a_kill(tmp_path: Path) -> None:
    grow(tmp_path / ".a.old", {"weights": b"former", "notes": b"mine"})
    grow(tmp_path / ".a.new", {"weights": b"new"})
    grow(tmp_path / ".b.gone", {"weights": b"half deleted"})
    storage.sweep(tmp_path, "a|b", lambda name: name == "weights")
    assert files(tmp_path) == {"a/weights": b"former", "a/notes": b"mine"}


def test_files_still_open_on_nfs_are_no_reason_to_stop(tmp_path: Path, disk: Disk) -> None:
    disk.with_nfs(".json")
    grow(tmp_path / "folder", {"a.json": b"1", "b": b"2"})
    assert storage.remove_folder(tmp_path / "folder", lambda name: True)
    assert list(files(tmp_path)) == [".folder.gone/.nfs00000000"]
    assert storage.entries(tmp_path / ".folder.gone") == []
    for number in range(3):  # replaced again and again, though what it replaces cannot be deleted
        with storage.whole_folder(tmp_path / "new", lambda name: True) as new:
            (new / "c.json").write_text(str(number))
    assert files(tmp_path / "new") == {"c.json": b"2"}


def held_by_another(folder: Path) -> str:
    """The message to another process that wants the lock; "" if it gets it."""
    code = "import sys; from pathlib import Path; from data.storage import locked\nwith locked(Path(sys.argv[1])): pass"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    return done.stderr.strip().rpartition("\n")[2]


HOLDER = """
import os, sys
from pathlib import Path
from data.storage import locked
lock = locked(Path(sys.argv[1]))
lock.__enter__()
if os.fork():
    print("forked", flush=True)
    os._exit(0)  # as if killed
os.read(0, 1)  # the child lives on
"""


def test_a_child_of_the_holder_does_not_hold_the_lock(tmp_path: Path) -> None:
    """Workers outlive a killed command for a while; then the same command is to run again."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin and holder.stdout
        assert holder.stdout.readline() == b"forked\n"
        holder.wait()
        assert held_by_another(tmp_path) == ""
        holder.stdin.close()


def test_a_lock_keeps_others_out_and_leaves_nothing(tmp_path: Path) -> None:
    with storage.locked(tmp_path / "a/out"):
        assert "another command is writing to it" in held_by_another(tmp_path / "a/out")
        with pytest.raises(DataError, match="another command"), storage.locked(tmp_path / "a/out"):
            pass
    assert not (tmp_path / "a/out").exists()  # it was not there before, and nothing came to be in it
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / storage.LOCK).touch()  # of a process that was killed
    (tmp_path / "out/.lock").write_text("a user's")
    with storage.locked(tmp_path / "out"):
        assert storage.entries(tmp_path / "out") == [tmp_path / "out/.lock"]
        (tmp_path / "out/image").touch()
    assert sorted(os.listdir(tmp_path / "out")) == [".lock", "image"]
    assert (tmp_path / "out/.lock").read_text() == "a user's"
    assert held_by_another(tmp_path / "out") == ""


def test_a_lock_can_be_waited_for(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from data.storage import locked\n"
        "with locked(Path(sys.argv[1])):\n print('held', flush=True); sys.stdin.readline(); print('done', flush=True)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin and other.stdout
        assert other.stdout.readline() == "held\n"
        other.stdin.write("\n")
        other.stdin.flush()
        with storage.locked(tmp_path, wait=True):
            assert other.stdout.readline() == "done\n"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.EPERM])
def test_without_locks_a_warning_is_given_once(
    tmp_path: Path, disk: Disk, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.without_locks(number)
    for _ in range(2):
        with storage.locked(tmp_path), storage.locked(tmp_path, wait=True):
            pass
    assert capsys.readouterr().err.count("no locks") == 1


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EINVAL, errno.EACCES])
def test_without_links_a_text_file_points(tmp_path: Path, disk: Disk, number: int) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    storage.point(tmp_path / "best", "one")
    assert (tmp_path / "best").is_symlink()
    disk.without_links(number)
    for name in ("two", "one", "two"):
        storage.point(tmp_path / "best", name)
        assert (tmp_path / "best").read_text() == f"{name}\n"
        assert storage.pointed(tmp_path / "best") == tmp_path / name
    disk.patch.undo()
    storage.point(tmp_path / "best", "one")
    assert storage.pointed(tmp_path / "best").resolve() == tmp_path / "one"


@given(content=st.binary(max_size=300))
@example(b"step\n")
@example(b"..")
@example(b"../other")
@example(b"")
@settings(max_examples=60, deadline=None)
def test_whatever_stands_in_its_place_points_nowhere_else(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    place = tmp_path_factory.mktemp("pointed") / "checkpoints"
    (place / "step").mkdir(parents=True)
    place.with_name("other").mkdir()
    (place / "best").write_bytes(content)
    assert storage.pointed(place / "best") in (place / "step", place / "best")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_a_disk_that_cannot_flush_is_written_to(tmp_path: Path, disk: Disk, number: int) -> None:
    disk.without("fsync", number)
    storage.write_text(tmp_path / "file", "text")
    assert not storage.flush(tmp_path) and (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_flush_that_loses_data_is_an_error(tmp_path: Path, disk: Disk, number: int) -> None:
    (tmp_path / "file").write_text("before")
    disk.without("fsync", number)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))):
        storage.write_text(tmp_path / "file", "text")
    assert files(tmp_path) == {"file": b"before"}


def test_the_hash_is_sha256_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"ww")
    # printf ww | sha256sum
    right = "b84ff8057ee3a7f87deac4ae29ac59292f02e6c28f987031648011018384d888"
    assert storage.sha256(tmp_path / "file") == right
