"""What is committed is about this project alone: no trace of the machine on which it was written.

Where packages come from is the business of the machine that installs them: it may have a mirror.
The patterns are put together from pieces, so that this file does not hold what it looks for.
"""

import configparser
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.house.tree import ROOT, project_files

LOCK = ROOT / "requirements.lock"
IMAGE_LOCK = ROOT / "deploy/requirements.lock"

_DOT = r"\."
REGISTRIES = re.compile(
    "|".join(
        [
            "py" + "pi" + _DOT + "org",
            "python" + "hosted" + _DOT + "org",
            "rep" + r"o1?" + _DOT + "maven",
            "maven" + _DOT + "apache" + _DOT + "org",
            "registry" + _DOT + "npm",
            "--(?:extra-)?" + "index" + "-url",
            "--find" + "-links",
            "--trusted" + "-host",
        ]
    ),
    re.IGNORECASE,
)
MACHINE_PATHS = re.compile(
    "|".join(
        [
            r"(?<![\w.])/" + "root" + r"/",
            r"(?<![\w.])/" + "work" + r"/",
            r"(?<![\w.])/" + "home" + r"/\w+/",
            r"(?<![\w.])/" + "Users" + r"/\w+/",
            r"[A-Z]:\\" + "Users",
        ]
    )
)
BINARY = {".png", ".ico", ".woff2", ".gz", ".jar", ".parquet"}


def texts() -> list[tuple[str, str]]:
    return [
        (path.relative_to(ROOT).as_posix(), path.read_text())
        for path in project_files()
        if path.suffix not in BINARY
    ]


def breaches(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{where}:{number}: {found[0]}"
        for where, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if (found := pattern.search(line))
    ]


def test_no_registry_is_named() -> None:
    found = breaches(REGISTRIES)

    assert not found, "leave the choice of a mirror to the machine:\n" + "\n".join(found)


def test_no_path_of_a_machine() -> None:
    found = breaches(MACHINE_PATHS)

    assert not found, "say it from the root of the checkout, or take a setting:\n" + "\n".join(
        found
    )


def test_the_mirror_of_this_machine_is_not_named() -> None:
    """Wherever this machine gets its packages from, no file knows it. Its name is not printed
    here."""
    hosts = configured_hosts()
    found = [where for where, text in texts() if any(host in text for host in hosts)]

    assert not found


def configured_hosts() -> set[str]:
    """Hosts and folders of package indexes that environment and configuration files name."""
    values = [v for k, v in os.environ.items() if re.search(r"INDEX|FIND_LINKS|REGISTRY|MIRROR", k)]
    for file in (
        Path("/etc/pip.conf"),
        Path.home() / ".config/pip/pip.conf",
        Path.home() / ".pip/pip.conf",
    ):
        if file.is_file():
            parser = configparser.ConfigParser()
            parser.read(file)
            values += [v for section in parser.sections() for _, v in parser.items(section)]
    hosts = {urlsplit(url).hostname or "" for value in values for url in value.split()}
    return {host for host in hosts if "." in host} - {"localhost", "127.0.0.1"}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (REGISTRIES, "https://py" + "pi.org/simple"),
        (REGISTRIES, "--index" + "-url https://example.com"),
        (REGISTRIES, "https://repo" + ".maven" + ".apache.org/maven2"),
        (MACHINE_PATHS, "see /wo" + "rk/main/README.md"),
        (MACHINE_PATHS, "file:///ro" + "ot/.cache"),
        (MACHINE_PATHS, "'/ho" + "me/somebody/x'"),
    ],
)
def test_a_breach_is_seen(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


@pytest.mark.parametrize("text", ["GET /v1/home/", "docs/work/x", "~/.cache", "the root/leaf"])
def test_other_words_pass(text: str) -> None:
    assert not MACHINE_PATHS.search(text)
    assert not REGISTRIES.search(text)


def requirements(lock: Path) -> list[str]:
    """One logical line per requirement, comments dropped."""
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in lock.read_text().splitlines()]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def test_the_images_install_what_was_tested() -> None:
    """The images' lock is the part of the one lock that the services need, hash by hash."""
    needed, tested = set(requirements(IMAGE_LOCK)), set(requirements(LOCK))

    assert needed
    assert not needed - tested, "run `make lock`"


@pytest.mark.parametrize("lock", [LOCK, IMAGE_LOCK], ids=["all", "images"])
def test_every_requirement_is_pinned_and_hashed(lock: Path) -> None:
    locked = requirements(lock)
    assert len(locked) > 50

    pinned = re.compile(
        r"[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==\S+(\s*;[^\n]*?)?(\s+--hash=sha256:[0-9a-f]{64})+"
    )
    loose = [line[:60] for line in locked if not pinned.fullmatch(line)]

    assert not loose, f"`make lock` writes name==version with hashes: {loose}"


def test_the_lock_names_no_address() -> None:
    """Neither an option nor a URL: every line is a requirement or a comment about one."""
    addressed = [
        line for line in LOCK.read_text().splitlines() if "://" in line or line.startswith("-")
    ]

    assert not addressed


def test_the_lock_is_of_what_pyproject_asks_for() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    asked += [
        line for extra in project["project"]["optional-dependencies"].values() for line in extra
    ]
    locked = {re.split(r"[=\[;\s]", line)[0] for line in requirements(LOCK)}

    missing = {
        name
        for line in asked
        if (name := re.split(r"[\[<>=;~!\s]", line)[0].lower().replace("_", "-")) not in locked
    }

    assert not missing, f"run `make lock`: {sorted(missing)}"
