"""Callbacks by name: `plugins.make`, and default callbacks that are named."""

import pytest
from torch import nn
from treadle import Callback, Learner, plugins, toy_learner
from treadle.errors import ArgumentValueError, CallbackConflictError, CallbackError, PluginError

SOURCE = """
from treadle import Callback, Read, Write

class Sized(Callback):
    def __init__(self, size, *, name="sized"):
        self.size, self.name = size, name

class Keeper(Callback):
    state_access = {"cbstate.history": Write}
    def on_epoch_end(self, learner): ...

class Reader(Callback):
    state_access = {"cbstate.history": Read}
    def on_epoch_end(self, learner): ...
"""


@pytest.fixture
def acme(install, monkeypatch):
    """A distribution with callbacks under names of defaults, and no other that is in use."""
    others = {plugin.distribution for plugin in plugins.installed()}
    monkeypatch.setenv(plugins.DISABLE, ",".join(others))
    points = {"sized": "acme:Sized", "recorder": "acme:Keeper", "metrics": "acme:Reader", "broken": "acme_broken:No"}
    files = {"acme.py": SOURCE, "acme_broken.py": "raise RuntimeError('no')"}
    install("acme", files=files, entry_points={"treadle.callbacks": points})


def learner(*callbacks: Callback | str, names) -> Learner:
    return Learner(nn.Linear(1, 1), nn.L1Loss(), callbacks=callbacks, use_default_callbacks=names)


def class_names(made: Learner) -> list[str]:
    return [type(callback).__name__ for callback in made.callbacks]


def test_a_callback_is_made_by_its_name_with_arguments(acme) -> None:
    made = plugins.make("sized", size=3, name="first")
    assert (type(made).__name__, made.size, made.name) == ("Sized", 3, "first")
    assert toy_learner(made).fit(1).epochs == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"'sized' cannot be made with these arguments: missing a required argument: 'size'.\nFix: pass those"),
        ({"siz": 3}, r"missing a required argument: 'size'. Did you mean `size`\?\nFix: pass those that Sized takes:"),
        ({"size": 3, "naem": "a"}, r"got an unexpected keyword argument 'naem'. Did you mean `name`\?"),
    ],
)
def test_arguments_that_the_class_does_not_take_are_refused(acme, arguments, message) -> None:
    with pytest.raises(CallbackError, match=message):
        plugins.make("sized", **arguments)


def test_an_unknown_or_broken_one_is_refused_by_name(acme) -> None:
    with pytest.raises(PluginError, match=r"There is no plugin called 'szied' installed. Did you mean `sized`\?"):
        plugins.make("szied")
    with pytest.raises(
        PluginError, match=r"'broken' \(acme 1.0, acme_broken:No\) cannot be imported: RuntimeError: no"
    ):
        plugins.make("broken")


def test_the_defaults_that_are_named_join_and_no_others(acme) -> None:
    assert class_names(learner(names=("recorder",))) == ["Keeper"]
    assert class_names(learner(names=["metrics", "recorder", "metrics"])) == ["Reader", "Keeper"]
    assert class_names(learner(names=())) == []
    assert class_names(learner(plugins.make("recorder"), names=("recorder", "metrics"))) == ["Keeper", "Reader"]


def test_a_name_that_is_no_default_is_refused_with_a_guess(acme) -> None:
    with pytest.raises(ArgumentValueError, match=r"names 'recoder', which is not one of .*. Did you mean `recorder`\?"):
        learner(names=("recoder",))


def test_a_default_that_is_named_and_cannot_be_used_is_an_error(acme) -> None:
    with pytest.raises(PluginError, match="'stop_on_nan_loss'"):
        learner(names=("stop_on_nan_loss",))
    with pytest.raises(CallbackConflictError, match=r"Reader reads `cbstate.history`, and no callback writes it"):
        learner(names=("metrics",))
