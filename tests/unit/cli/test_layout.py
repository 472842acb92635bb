"""A data folder is ours or it is refused; a disk that would be full is named before the start."""

import errno
import json
import stat
from pathlib import Path

import pytest
from orderonce_cli.problems import Problem
from orderonce_cli.stack import layout
from orderonce_cli.stack.layout import Layout


def test_a_fresh_folder_is_marked_and_private(tmp_path: Path) -> None:
    where = Layout(tmp_path / "data")
    layout.prepare(where)
    assert json.loads((where.root / layout.MARK).read_text())["version"] == layout.LAYOUT_VERSION
    assert stat.S_IMODE(where.secrets.stat().st_mode) == 0o700
    layout.prepare(where)  # and is accepted again


def test_a_folder_with_other_things_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(Problem, match="holds other things"):
        layout.prepare(Layout(tmp_path))
    with pytest.raises(Problem, match="holds other things"):
        layout.wipe(Layout(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_a_folder_of_another_version_is_refused_but_can_be_wiped(tmp_path: Path) -> None:
    where = Layout(tmp_path)
    (tmp_path / layout.MARK).write_text(json.dumps({"version": 99, "postgres": "inside"}))
    with pytest.raises(Problem, match=r"another version.*--fresh"):
        layout.prepare(where)
    layout.wipe(where)
    layout.prepare(where)


def test_a_moved_folder_is_refused(tmp_path: Path) -> None:
    where = Layout(tmp_path)
    layout.prepare(where)
    mark = tmp_path / layout.MARK
    mark.write_text(json.dumps({"version": layout.LAYOUT_VERSION, "postgres": "/elsewhere"}))
    with pytest.raises(Problem, match="moved"):
        layout.prepare(where)


def test_wiping_leaves_only_the_locks(tmp_path: Path) -> None:
    where = Layout(tmp_path)
    layout.prepare(where)
    where.up_lock.touch()
    layout.kept_secret(where, "pepper")
    layout.wipe(where)
    assert list(tmp_path.iterdir()) == [where.up_lock]


def test_too_little_space_is_a_sentence_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"has \d+ MB free .* at least 999999999 MB"):
        layout.check_space(tmp_path, least_mb=999_999_999)


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "is full"), (errno.EACCES, "written by this user")],
)
def test_what_a_disk_refuses_is_a_sentence(tmp_path: Path, number: int, said: str) -> None:
    problem = layout.disk_problem(OSError(number, "no"), tmp_path)
    assert said in problem.sentence


def test_a_secret_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    where = Layout(tmp_path)
    layout.prepare(where)
    first = layout.kept_secret(where, "pepper")
    assert layout.kept_secret(where, "pepper") == first
    assert len(bytes.fromhex(first)) == 32
    assert stat.S_IMODE(where.secret("pepper").stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    layout.write_private(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(layout.os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        layout.write_private(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_data_folder_follows_option_then_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERONCE_DATA", str(tmp_path / "named"))
    assert layout.data_folder(tmp_path / "given").root == tmp_path / "given"
    assert layout.data_folder(None).root == tmp_path / "named"
    monkeypatch.delenv("ORDERONCE_DATA")
    assert layout.data_folder(None).root == layout.CHECKOUT / ".data"
