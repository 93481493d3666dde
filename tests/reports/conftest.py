from pathlib import Path

import pytest
from synthetic_run import write_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of three steps; tests must not write into it."""
    return write_run(tmp_path_factory.mktemp("runs") / "finished")
