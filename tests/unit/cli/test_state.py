"""What `status` prints is true: a state whose writer is dead is not `ready`."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from orderonce_cli.problems import Problem
from orderonce_cli.stack import children, control, state
from orderonce_cli.stack.layout import Layout
from orderonce_cli.stack.services import Plan, services, view
from orderonce_cli.stack.state import Shape, State


def this_process() -> tuple[int, float]:
    started = children.start_time(os.getpid())
    assert started is not None
    return os.getpid(), started


def test_a_written_state_is_read_back(tmp_path: Path) -> None:
    where = Layout(tmp_path)
    written = State(
        state="ready",
        shape=Shape(apis=2, executors=2),
        supervisor=this_process(),
        children={"kafka": (17, 3.5)},
        view={"kafka": "127.0.0.1:1"},
    )
    state.write(where, written)
    assert state.read(where) == written
    assert (tmp_path / "stack.json").stat().st_mode & 0o077 == 0


def test_a_broken_or_missing_file_is_a_stopped_stack(tmp_path: Path) -> None:
    where = Layout(tmp_path)
    assert state.read(where).state == "stopped"
    where.state.write_text('{"state": "ready"')
    assert state.read(where).state == "stopped"


def test_a_folder_that_this_user_may_not_read_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refused)  # root, who may run this, may read all
    with pytest.raises(Problem, match=r"by this user.*--data"):
        state.read(Layout(tmp_path))


def test_a_stack_on_its_way_down_is_not_joined(tmp_path: Path) -> None:
    where = Layout(tmp_path)
    with pytest.raises(Problem, match=f"{tmp_path} is stopping. Try again in a moment"):
        control._check_shape(State(state="stopping", shape=Shape(apis=2)), Shape(), where)
    with pytest.raises(Problem, match="another shape"):
        control._check_shape(State(state="ready", shape=Shape(apis=2)), Shape(), where)
    control._check_shape(State(state="ready"), Shape(), where)


def test_what_runs_is_known_before_anything_is_started(tmp_path: Path) -> None:
    where = Layout(tmp_path)
    assert not control.runs(where)
    state.write(where, State(state="starting", supervisor=this_process()))
    assert control.runs(where)
    state.write(where, State(state="stopped", supervisor=this_process()))
    assert not control.runs(where)
    state.write(where, State(state="ready", supervisor=(os.getpid(), 1.0)))
    assert not control.runs(where)


def test_a_dead_supervisor_is_shown_as_crashed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    dead = State(state="ready", supervisor=(gone.pid, 1.0), view={"kafka": "127.0.0.1:1"})
    shown = state.shown(Layout(tmp_path), dead)
    assert shown["state"] == "crashed"
    assert "kafka" not in shown


def test_a_number_taken_over_by_another_process_is_not_ours() -> None:
    pid, started = this_process()
    assert children.is_alive(pid, started)
    assert not children.is_alive(pid, started - 3600)


def test_the_view_has_every_member_of_the_contract(tmp_path: Path) -> None:
    from orderonce_cli.stack import layout, ports

    where = Layout(tmp_path / "data")
    layout.prepare(where)
    plan = Plan(where, Shape(apis=2, executors=2), ports.kept(where), {})
    running = State("ready", plan.shape, this_process(), view=view(plan, "oo_test_x"))
    shown = state.shown(where, running)
    told = "order_api order_api_admin executor_admin ledger paper paper_control kafka postgres"
    assert {*told.split(), "demo_key", "accounts", "data", "processes"} <= shown.keys()
    assert len(shown["order_api"]) == len(shown["executor_admin"]) == 2
    assert shown["accounts"] == [f"paper-{n}" for n in range(1, 9)]


def test_services_get_secrets_as_files_and_their_own_tunables_only(tmp_path: Path) -> None:
    from orderonce_cli.stack import layout, ports

    where = Layout(tmp_path / "data")
    layout.prepare(where)
    outside = {
        "EXECUTOR_WINDOW_MS": "3000",
        "PATH": "/bin",
        "AWS_SECRET": "x",
        "EXECUTOR_HOST": "9",
    }
    plan = Plan(where, Shape(), ports.kept(where), outside)
    specs = {spec.name: spec for spec in services(plan)}
    assert set(specs) == {"order-api-1", "executor-1", "ledger"}
    executor = specs["executor-1"].env
    assert executor["EXECUTOR_WINDOW_MS"] == "3000"
    assert executor["EXECUTOR_HOST"] == "127.0.0.1"  # the stack's own word wins
    assert "EXECUTOR_WINDOW_MS" not in specs["ledger"].env
    passwords = [layout.kept_secret(where, f"{role}.password") for role in ("executor", "ledger")]
    for spec in specs.values():
        told = [*spec.argv, *spec.env.values()]
        assert "AWS_SECRET" not in spec.env
        assert not any(password in value for password in passwords for value in told)
