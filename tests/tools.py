"""Programs of the system that some tests run. On a developer's machine a missing one leaves its
tests out, in one line; where ORDERONCE_REQUIRE_TOOLS is set, as in CI, it is a failure.
"""

import os
import shutil

import pytest

REQUIRED = "ORDERONCE_REQUIRE_TOOLS"


def tool(*names: str) -> str:
    """The path of the first of these programs that is there."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        missing = f"{' or '.join(names)} is not installed"
        if os.environ.get(REQUIRED):
            pytest.fail(missing)
        pytest.skip(missing)
    return found
