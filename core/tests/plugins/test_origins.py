import pytest
from treadle import Callback, CustomCallback, StepEnd, throttle
from treadle.plugins.discovery import CALLBACKS, distribution_of, entry_point_names, load, names_of

SOURCE = """
from treadle import Callback
class Base(Callback): ...
class StopOnNaNLoss(Base): ...
"""


@pytest.fixture
def stop(install):
    install(
        "stop-plugin",
        files={"stop_plugin/__init__.py": "from stop_plugin.stop import StopOnNaNLoss", "stop_plugin/stop.py": SOURCE},
        entry_points={CALLBACKS: {"halt": "stop_plugin.stop:StopOnNaNLoss", "base": "stop_plugin.stop:Base"}},
        version="3.1",
    )
    return load("halt")


def test_a_callback_comes_from_the_distribution_that_its_module_belongs_to(stop) -> None:
    assert distribution_of(stop()) == "stop-plugin 3.1"
    assert distribution_of(throttle(stop(), StepEnd, freq=2)) == "stop-plugin 3.1"


def test_a_callback_of_no_distribution_comes_from_none() -> None:
    class Mine(Callback):
        """Defined here."""

    assert distribution_of(Mine()) is None
    assert distribution_of(CustomCallback(print, StepEnd)) is None


def test_a_callback_may_be_called_by_its_name_its_classes_and_its_entry_points(stop) -> None:
    callback = stop()
    callback.name = "mine"
    assert names_of(callback) == {"mine", "StopOnNaNLoss", "stop_on_nan_loss", "halt", "Base", "base"}
    assert names_of(throttle(callback, StepEnd, freq=2)) == names_of(callback)


def test_a_subclass_is_called_as_its_base_is(stop) -> None:
    child = type("Child", (stop,), {})
    assert {"Child", "child", "halt", "StopOnNaNLoss", "base"} <= names_of(child())
    assert entry_point_names(child) == {"halt", "base"}


def test_an_entry_point_counts_also_when_it_names_the_package_and_not_the_module(install) -> None:
    install(
        "short-plugin",
        files={
            "short_plugin/__init__.py": "from short_plugin.stop import StopOnNaNLoss",
            "short_plugin/stop.py": SOURCE,
        },
        entry_points={CALLBACKS: {"short": "short_plugin:StopOnNaNLoss"}},
    )
    assert "short" in names_of(load("short")())
