from treadle import Callback, Read, StepBegin, Write, hookimpl, throttle, toy_learner
from treadle_sanity.influence import influences, movers


class Watches(Callback):
    state_access = {"step": Read}

    def on_step_begin(self, learner): ...


class Changes(Callback):
    state_access = {"step": Write}

    def on_step_begin(self, learner): ...


class Answers(Callback):
    def forward(self, learner): ...


class Moves(Callback):
    state_access = {"step.xs": Write}

    def move_data(self, tensor):
        return tensor

    def on_step_begin(self, learner): ...


class Averages(Callback):
    @hookimpl(wrapper=True)
    def epoch(self, learner):
        return (yield)


class Reorders(Callback):
    def epoch(self, learner, phase, data): ...


def test_those_who_write_what_is_in_a_step_or_answer_for_a_part_of_it_have_influence():
    assert influences(toy_learner(Watches(), Changes())) == ["Changes"]
    assert influences(toy_learner(Answers())) == ["Answers"]
    assert influences(toy_learner(Reorders())) == ["Reorders"]


def test_who_only_wraps_an_epoch_has_none():
    assert influences(toy_learner(Averages())) == []


def test_who_moves_batches_is_asked_to_move_the_trials_instead():
    moves = Moves()
    learner = toy_learner(throttle(moves, StepBegin, freq=1))
    assert influences(learner) == []
    assert movers(learner) == [moves.move_data]
