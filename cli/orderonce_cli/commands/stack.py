"""`orderonce up | down | status | logs`: the embedded stack."""

import time
from typing import Annotated, Any

import typer

from orderonce_cli import output
from orderonce_cli.commands.options import DataOption, JsonOption
from orderonce_cli.problems import Exit, Problem
from orderonce_cli.stack import control, layout, ports, state
from orderonce_cli.stack.state import Shape

Copies = typer.Option(min=1, max=ports.MAX_COPIES)

FOLLOW_LOOK_S = 0.2
LOG_LINES = 50  # that `logs` shows of the past


def up(
    data: DataOption = None,
    apis: Annotated[int, Copies] = 1,
    executors: Annotated[int, Copies] = 1,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay; Ctrl-C stops all.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Wipe all data first.")] = False,
    new_ports: Annotated[bool, typer.Option("--new-ports", help="Choose other ports.")] = False,
    infrastructure: Annotated[
        bool, typer.Option("--infrastructure", help="Only Postgres and Kafka, empty.")
    ] = False,
    paper_limits: Annotated[
        bool,
        typer.Option(help="The paper exchange limits rates, as venues do; not for load."),
    ] = True,
    json: JsonOption = False,
) -> None:
    """Start the whole stack on this machine; returns when it is ready."""
    control.check_python()
    where, shape = layout.data_folder(data), Shape(apis, executors, infrastructure, paper_limits)
    if fresh:
        with output.progress(f"wiping {where.root}"):
            control.wipe(where)
    if new_ports:
        ports.forget(where)
    with output.progress(f"starting the stack in {where.root}") as report:
        if foreground:
            ended = control.foreground(where, shape, report, lambda: _show(where, json))
            if ended.state == "failed":
                raise Problem(ended.error or "The stack failed.")
            return
        control.up(where, shape, report)
    _show(where, json)


def down(
    data: DataOption = None,
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove all data, too.")] = False,
    json: JsonOption = False,
) -> None:
    """Stop the stack; its data stays."""
    where = layout.data_folder(data)
    with output.progress("stopping the stack"):
        ran = control.down(where)
        if wipe:
            control.wipe(where)
    if json:
        output.as_json({"state": "stopped", "was_running": ran, "data": str(where.root)})
    else:
        print("stopped" if ran else "nothing was running")


def status(data: DataOption = None, json: JsonOption = False) -> None:
    """Show what runs where. Exit code 3 when the stack is not running."""
    where = layout.data_folder(data)
    phase = _show(where, json)
    if phase != "ready":
        raise typer.Exit(Exit.UNAVAILABLE)


def logs(
    name: Annotated[str, typer.Argument(help="A process: postgres, kafka, executor-1, …")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0)] = LOG_LINES,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Show the log of one process."""
    where = layout.data_folder(data)
    path = where.log(name)
    try:
        found = path.parent == where.logs and path.exists()
    except OSError as error:
        raise layout.disk_problem(error, where.root) from error
    if not found:
        known = ", ".join(sorted(log.stem for log in where.logs.glob("*.log"))) or "none yet"
        raise Problem(f"There is no log of {name}. There are: {known}.")
    with path.open(errors="replace") as file:
        last = file.readlines()[-lines:] if lines else []
        if json:
            output.as_json({"name": name, "log": str(path), "lines": [x.rstrip() for x in last]})
            return
        print("".join(last), end="", flush=True)
        while follow:
            if part := file.read():
                print(part, end="", flush=True)
            else:
                time.sleep(FOLLOW_LOOK_S)
                if path.stat().st_size < file.tell():  # it was trimmed
                    file.seek(0)


def _show(where: layout.Layout, json: bool) -> str:
    """Print the state; gives its phase."""
    shown = state.shown(where, state.read(where))
    if json:
        output.as_json(shown)
        return str(shown["state"])
    processes: list[dict[str, Any]] = shown.pop("processes")
    output.facts({name: value for name, value in shown.items() if value is not None})
    if processes:
        print()
        output.table(processes, ("name", "pid", "log"))
    return str(shown["state"])
