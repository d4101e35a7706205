"""The plan of callbacks without a learner."""

import pytest
from treadle import Callback, CallbackConflictError, PluginError, Read, Write, toy_learner
from treadle.ordering.preview import preview


class Keeper(Callback):
    state_access = {"cbstate.kept": Write}

    def on_init(self, learner):
        raise AssertionError("A plan initializes nothing.")

    def on_step_end(self): ...


class Announcer(Callback):
    state_access = {"cbstate.kept": Read}

    def on_step_end(self): ...


def test_it_is_the_preview_a_learner_and_initializes_nothing() -> None:
    plan = preview([Announcer(), Keeper()])

    class Quiet(Keeper):
        name = "Keeper"

        def on_init(self, learner): ...

    assert str(plan) == str(toy_learner(Announcer(), Quiet()).plan())
    assert plan.digest == toy_learner(Announcer(), Quiet()).plan().digest


def test_conflicts_and_unknown_names_are_refused_as_a_learner_refuses_them() -> None:
    with pytest.raises(CallbackConflictError, match=r"Announcer reads `cbstate\.kept`, and no callback writes it"):
        preview([Announcer()])
    with pytest.raises(PluginError, match=r"There is no plugin called 'acme_of_nobody' installed"):
        preview(["acme_of_nobody"])
