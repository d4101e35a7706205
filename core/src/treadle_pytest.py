"""For the tests of callbacks, found by pytest where treadle-core is installed: fixtures, and remarks of a contract.

They stand outside of the package `treadle`: pytest imports its plugins at every start, and that must
not cost an import of torch.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from treadle import Learner


@pytest.fixture
def toy_learner() -> Callable[..., Learner]:
    """The function `treadle.toy_learner`."""
    from treadle.testing import toy_learner

    return toy_learner


@pytest.fixture
def only_plugins(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that disables all installed plugins but those named, until the test ends.

    `only_plugins("recorder", "treadle-metrics")` takes names of entry points and of distributions; without
    a name, it disables all.
    """
    return functools.partial(isolate, monkeypatch)


def isolate(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Disable all installed plugins but these; see `only_plugins`.

    Raises:
        PluginError: if one of them is not installed.
    """
    from treadle import plugins
    from treadle.errors import PluginError, did_you_mean

    installed = plugins.installed()
    known = {name for plugin in installed for name in (plugin.name, plugin.distribution)}
    for name in names:
        if name not in known:
            raise PluginError(
                f"The plugin {name!r} is not installed.\nFix: name one that is. {did_you_mean(str(name), known)}"
            )
    others = [plugin.name for plugin in installed if not {plugin.name, plugin.distribution} & {*names}]
    monkeypatch.setenv(plugins.DISABLE, ",".join(dict.fromkeys(others)) if names else "all")


#: The title of what a test's report has of remarks.
REMARKS = "Remarks on a callback"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the remarks of a check of `CallbackContract` into the report of its test."""
    report = yield
    contract = sys.modules.get("treadle.testing.contract")
    test = getattr(item, "instance", None)
    if report.when == "call" and contract is not None and isinstance(test, contract.CallbackContract) and test.remarks:
        report.sections.append((REMARKS, "\n".join(test.remarks)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the remarks of all tests that passed."""
    found = [
        text for report in terminalreporter.getreports("passed") for title, text in report.sections if title == REMARKS
    ]
    if found:
        terminalreporter.section(REMARKS.lower())
        for text in dict.fromkeys(found):
            terminalreporter.write_line(text)
