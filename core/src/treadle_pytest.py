"""Fixtures for the tests of callbacks; pytest finds them by itself where treadle-core is installed.

A module of its own, and not one of the package `treadle`: pytest imports its plugins at every start,
and that must not cost an import of torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from treadle import Learner


@pytest.fixture
def toy_learner() -> Callable[..., Learner]:
    """The function of that name, which makes the learner that a test begins with."""
    from treadle.testing import toy_learner

    return toy_learner


@pytest.fixture
def only_plugins(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function after which only these plugins are there to be found; without names, none.

    `only_plugins("recorder", "treadle-metrics")` takes names of entry points and of distributions. What
    else is installed is disabled until the test ends, so that it cannot join, provide or disturb.
    """
    return functools.partial(isolate, monkeypatch)


def isolate(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Disable every plugin but these; see `only_plugins`.

    Raises:
        PluginError: if one of them is not installed.
    """
    from treadle import plugins
    from treadle.errors import PluginError, did_you_mean

    installed = plugins.installed()
    known = {each for plugin in installed for each in (plugin.name, plugin.distribution)}
    for name in names:
        if name not in known:
            raise PluginError(f"There is no plugin called {name!r} installed. {did_you_mean(name, known)}")
    others = [plugin.name for plugin in installed if not {plugin.name, plugin.distribution} & {*names}]
    monkeypatch.setenv(plugins.DISABLE, ",".join(dict.fromkeys(others)) if names else "all")
