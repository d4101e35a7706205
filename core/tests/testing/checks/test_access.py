from treadle import Callback, Read, Write
from treadle.testing import check_callback, toy_learner
from treadle.testing.checks.declared.access import unused
from treadle.testing.comparison.record import Record


def test_a_write_that_is_only_read_is_found(failed):
    class Looks(Callback):
        state_access = {"optimizer": Write}

        def on_step_end(self, learner):
            return learner.optimizer.param_groups[0]["lr"]

    assert failed(Looks)["access"].startswith(
        "`optimizer` is declared `Write` and only read.\nFix: declare it `Read` in state_access, or give the reason"
    )


def test_a_write_in_place_counts_as_one():
    class Scales(Callback):
        state_access = {"optimizer": Write, "step.grads": Write}

        def on_backward_end(self, learner):
            learner.optimizer.param_groups[0]["lr"] *= 0.9
            learner.step.grads["weight"].mul_(0.5)

    assert check_callback(Scales, learner=toy_learner).failed == 0


def test_a_path_that_is_not_used_can_be_explained(failed):
    class Rare(Callback):
        state_access = {"step.loss": Read, "model": Read}

        def on_step_end(self, learner):
            if learner.step.loss.isnan():
                raise ValueError(f"{learner.model}")

    assert "`model` is declared and not used." in failed(Rare)["access"]
    assert check_callback(Rare, unused_ok={"model": "only shown when the loss is NaN"}).failed == 0


def used(declared, *, read=(), written=()) -> Record:
    """A record of a callback that declared and used these paths."""
    callback = Callback()
    callback.state_access = declared
    record = Record(callback)
    record.read.update(read)
    record.written.update(written)
    return record


def test_what_was_declared_and_not_used_is_found():
    declared = {"step": Read, "cbstate.count": Write, "cbstate.history": Read, "params": Read, "optimizer": Write}
    read = {"step", "optimizer", "cbstate.history"}
    assert unused(used(declared, read=read, written={"cbstate.count"})) == {
        "params": "is declared and not used",
        "optimizer": "is declared `Write` and only read",
    }


def test_a_part_of_a_path_is_a_use_of_it():
    assert unused(used({"cbstate": Write, "step": Read}, read={"step.loss"}, written={"cbstate.history"})) == {}


def test_the_path_above_is_not_a_use_of_it():
    assert list(unused(used({"cbstate.history": Read}, read={"cbstate"}))) == ["cbstate.history"]
