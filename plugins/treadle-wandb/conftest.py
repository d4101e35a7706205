"""Settings of this distribution's tests."""

import pytest


@pytest.fixture(autouse=True)
def examples_write_into_an_empty_folder(
    request: pytest.FixtureRequest, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The examples of the docstrings write files."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(tmp_path)
