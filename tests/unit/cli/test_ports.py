"""Ports are kept, differ between stacks, and a taken one is named."""

import os
import socket
from pathlib import Path

import pytest
from orderonce_cli.problems import Problem
from orderonce_cli.stack import layout, ports
from orderonce_cli.stack.layout import Layout


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERONCE_CACHE", str(tmp_path / "cache"))


def made(folder: Path) -> Layout:
    where = Layout(folder)
    layout.prepare(where)
    return where


def test_ports_are_kept_between_starts(tmp_path: Path) -> None:
    where = made(tmp_path / "one")
    assert ports.kept(where) == ports.kept(where)


def test_every_port_of_the_largest_shape_is_its_own(tmp_path: Path) -> None:
    chosen = ports.kept(made(tmp_path / "one"))
    wanted = ports.names(ports.MAX_COPIES, ports.MAX_COPIES)
    assert set(wanted) == set(chosen)
    assert len(set(chosen.values())) == len(chosen)
    assert max(chosen.values()) - min(chosen.values()) < ports.BLOCK
    assert max(chosen.values()) < 32_768  # Linux takes outgoing ports from there on


@pytest.mark.parametrize("broken", ['{"base": 2', "{}", '{"base": null}', "7"])
def test_a_broken_file_is_a_sentence_and_new_ports_mend_it(tmp_path: Path, broken: str) -> None:
    where = made(tmp_path / "one")
    where.ports.write_text(broken)
    with pytest.raises(Problem, match=r"ports\.json cannot be read; start with --new-ports"):
        ports.kept(where)
    ports.forget(where)
    assert ports.kept(where)["postgres"] >= ports.FIRST


def test_two_folders_never_share_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_order", lambda path: [21_000, 21_040, 21_080])
    monkeypatch.setattr(ports, "_is_free", lambda port: True)
    one, two = ports.kept(made(tmp_path / "one")), ports.kept(made(tmp_path / "two"))
    assert not set(one.values()) & set(two.values())


def test_a_port_in_use_is_named_with_its_user() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(Problem, match=rf"Port {taken}.*for kafka.*{os.getpid()}"):
            ports.check_free({"kafka": taken}, ["kafka"])
    ports.check_free({"kafka": taken}, ["kafka"])
