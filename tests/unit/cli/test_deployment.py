"""The jobs of a deployment: secrets made once, each reader its own, mended when half-made."""

import json
import socket
import threading
from pathlib import Path

import pytest
from orderonce_cli.commands import demo_stacks
from orderonce_cli.problems import Problem
from orderonce_cli.stack import running, seed
from orderonce_cli.stack.deployment import READERS, write_secrets
from orderonce_cli.stack.layout import Layout

HERE = "postgres:5432"


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def made(folder: Path, postgres: str = HERE) -> dict[str, str]:
    write_secrets(folder, postgres, "orderonce", 10001)
    return contents(folder)


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = made(tmp_path)
    assert made(tmp_path) == first
    assert {name.partition("/")[0] for name in first} == set(READERS) - {"keys"}


def test_services_share_the_pepper_and_no_password(tmp_path: Path) -> None:
    told = made(tmp_path)
    assert told["order-api/pepper"] == told["ledger/pepper"]
    passwords = {told[f"migrate/{role}.password"] for role in ("order_api", "executor", "ledger")}
    assert len(passwords | {told["postgres/owner.password"]}) == 4
    for service, role in (("order-api", "order_api"), ("executor", "executor")):
        password = told[f"migrate/{role}.password"]
        assert told[f"{service}/database.url"] == f"postgresql://{role}:{password}@{HERE}/orderonce"
        others = [text for name, text in told.items() if not name.startswith((service, "migrate"))]
        assert not any(password in text for text in others)


def test_a_run_that_was_killed_half_way_is_mended(tmp_path: Path) -> None:
    before = made(tmp_path)
    for lost in ("ledger/pepper", "executor/database.url", "migrate/owner.url"):
        (tmp_path / lost).unlink()
    assert made(tmp_path) == before


def test_a_pepper_that_one_reader_lost_comes_from_the_other(tmp_path: Path) -> None:
    before = made(tmp_path)
    (tmp_path / "order-api" / "pepper").unlink()
    assert made(tmp_path)["order-api/pepper"] == before["ledger/pepper"]


def test_a_database_that_moved_keeps_its_passwords(tmp_path: Path) -> None:
    before, after = made(tmp_path), made(tmp_path, "a:1,b:2")
    assert after["migrate/ledger.password"] == before["migrate/ledger.password"]
    assert after["ledger/database.url"].endswith(
        "@a:1,b:2/orderonce?target_session_attrs=read-write"
    )


def test_nobody_else_can_read_them(tmp_path: Path) -> None:
    made(tmp_path)
    for path in tmp_path.rglob("*"):
        is_open = path.relative_to(tmp_path).parts[0] == "postgres"
        assert is_open or not path.stat().st_mode & 0o077, path


def test_credentials_are_split_by_what_a_service_may_do() -> None:
    entry = {"uid": 1001, "trade": {"api_key": "t"}, "read": {"api_key": "r"}}
    told = seed.split_credentials(json.dumps({"accounts": {"paper-1": entry}}))
    found = {name: json.loads(text)["accounts"]["paper-1"] for name, text in told.items()}
    assert found == {
        "executor": {"venue": "paper", "api_key": "t"},
        "ledger": {"venue": "paper", "api_key": "r"},
    }


def test_a_kept_stack_is_found_by_its_view(tmp_path: Path) -> None:
    where = Layout(tmp_path)
    assert running.kept_elsewhere(where) is None
    running.keep(tmp_path, {"ledger": "http://ledger:8082"})
    assert running.view(where) == {"ledger": "http://ledger:8082"}
    (tmp_path / running.VIEW).write_text("{")
    with pytest.raises(Problem, match=r"view\.json cannot be read"):
        running.view(where)


def test_the_demo_waits_until_its_keeper_has_killed(capsys: pytest.CaptureFixture[str]) -> None:
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    urls = [f"http://127.0.0.1:{door.getsockname()[1]}" for door in doors]
    with demo_stacks.kept({"executor_admin": urls}) as (_, kill):
        threading.Timer(0.2, doors[0].close).start()
        assert kill() == "executor 127.0.0.1"
        assert capsys.readouterr().out == demo_stacks.KILL_NOW + "\n"
        with pytest.raises(Problem, match="1 are alive"):
            kill()
    doors[1].close()


def test_the_keeper_waits_for_the_words_of_the_demo() -> None:
    script = Path(__file__).parents[3] / "deploy" / "stack.sh"
    assert f'"{demo_stacks.KILL_NOW}")' in script.read_text()
