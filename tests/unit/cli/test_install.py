"""The set-up script, as far as it goes without a network."""

import os
import shutil
import subprocess
from pathlib import Path

from orderonce_cli.stack.layout import CHECKOUT


def test_a_named_python_that_does_not_run_is_an_error_and_no_other_is_taken(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    for name in ("cli/install.sh", "pyproject.toml", "requirements.lock"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    done = subprocess.run(
        ["sh", str(tmp_path / "cli" / "install.sh")],
        env={**os.environ, "PYTHON": "/nope"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "PYTHON=/nope does not run" in done.stderr
    assert not (tmp_path / ".venv").exists()
