import random

import pytest
import torch
from treadle import (
    Callback,
    CancelStepException,
    LinearRunner,
    Read,
    StepEnd,
    ThreadedRunner,
    TrainingPhase,
    Write,
    hookimpl,
    throttle,
    toy_learner,
)
from treadle.testing import AuditError, audit, check_callback, noisy_learner


def at_step_end(access, body) -> Callback:
    """A callback that does something at the end of training steps."""

    class Sneaky(Callback):
        state_access = access

        def on_step_end(self, learner, phase: TrainingPhase):
            body(learner)

    return Sneaky()


def refusal(learner) -> str:
    with pytest.raises(AuditError) as caught, audit(learner):
        learner.fit(1)
    return str(caught.value)


BREACHES = {
    "a parameter": (
        {"params": Read},
        lambda learner: learner.params["weight"].detach().add_(1),
        '`params.weight` was changed in place.\n  Fix: change in Sneaky.state_access:\n      "params": Write',
    ),
    "a parameter past torch's count": (
        {"model": Read},
        lambda learner: learner.model.weight.detach().numpy().fill(1),
        '`params.weight` was changed in place.\n  Fix: change in Sneaky.state_access:\n      "model": Write',
    ),
    "the loss": (
        {"step.loss": Read},
        lambda learner: learner.step.loss.detach().mul_(2),
        '`step.loss` was changed in place.\n  Fix: change in Sneaky.state_access:\n      "step.loss": Write',
    ),
    "a part of what may be read": (
        {"step": Read},
        lambda learner: learner.step.xs.add_(1),
        '`step.xs` was changed in place.\n  Fix: add to Sneaky.state_access:\n      "step.xs": Write',
    ),
    "a gradient": (
        {"step.grads": Read},
        lambda learner: learner.step.grads["weight"].mul_(2),
        "the gradient of `params.weight` was changed in place.\n  Fix: change in Sneaky.state_access:\n"
        '      "step.grads": Write',
    ),
    "a mode": (
        {"model": Read},
        lambda learner: learner.model.eval(),
        'a training mode in `model` was changed.\n  Fix: change in Sneaky.state_access:\n      "model": Write',
    ),
    "a learning rate": (
        {"optimizer": Read},
        lambda learner: learner.optimizer.param_groups[0].update(lr=1.0),
        '`optimizer` was changed.\n  Fix: change in Sneaky.state_access:\n      "optimizer": Write',
    ),
    "a generator": (
        {"cbstate.seen": Write},
        lambda learner: torch.rand(1),
        "the random generator of torch was changed.\n"
        "  Fix: Sneaky declares no Write outside of `cbstate`, so a training has to give the same result without it. "
        "Draw from a generator of your own:\n"
        "      torch.Generator(), random.Random()",
    ),
    "a setting of torch": (
        {},
        lambda learner: torch.set_grad_enabled(False),
        "torch's gradient mode was changed.\n  Fix: restore it:\n      with torch.no_grad(): ...",
    ),
}


@pytest.mark.parametrize(("access", "body", "what"), BREACHES.values(), ids=BREACHES.keys())
def test_a_change_that_is_not_declared_is_an_error_with_the_line_to_add(access, body, what):
    with torch.set_grad_enabled(True):
        text = refusal(toy_learner(at_step_end(access, body)))
    assert text == f"Sneaky.on_step_end changed what Sneaky does not declare `Write`:\n  {what}"


def test_an_entry_of_cbstate_that_is_only_read_must_stay():
    class Keeper(Callback):
        state_access = {"cbstate.kept": Write}

        def on_init(self, learner):
            learner.cbstate.kept = []

    thief = at_step_end({"cbstate.kept": Read}, lambda learner: learner.cbstate.kept.append(1))
    text = refusal(toy_learner(Keeper(), thief))
    assert text.endswith(
        '`cbstate.kept` was changed.\n  Fix: change in Sneaky.state_access:\n      "cbstate.kept": Write'
    )


def test_all_changes_of_a_handler_are_reported_together():
    def body(learner):
        learner.step.xs.add_(1)
        learner.step.ys.add_(1)

    text = refusal(toy_learner(at_step_end({"step.xs": Read, "step.ys": Read}, body)))
    assert text.count("was changed in place") == 2


def test_the_error_holds_the_changes_and_says_where_it_was():
    learner = toy_learner(at_step_end({"step.xs": Read}, lambda learner: learner.step.xs.add_(1)))
    with pytest.raises(AuditError) as caught, audit(learner):
        learner.fit(1)
    assert [change.part.path for change in caught.value.changes] == ["step.xs"]
    assert caught.value.__notes__ == ["Raised by Sneaky in on_step_end, TrainingPhase, epoch 1, step 1."]


def test_what_is_declared_may_be_changed():
    def body(learner):
        learner.model.weight.data.mul_(torch.rand(1))
        learner.step.xs = learner.step.xs + 1

    learner = toy_learner(at_step_end({"model": Write, "step.xs": Write}, body))
    with audit(learner):
        assert learner.fit(1).steps == 16


def test_a_callback_that_writes_gradients_may_change_them_in_place():
    class Clip(Callback):
        state_access = {"step.grads": Write}

        def on_backward_end(self, learner):
            learner.step.grads["weight"].clamp_(-0.1, 0.1)

    learner = toy_learner(Clip())
    with audit(learner):
        assert learner.fit(1).steps == 16


def test_an_audit_changes_nothing():
    def trained(audited: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        learner = noisy_learner(at_step_end({"step.loss": Read}, lambda learner: learner.step.loss.item()))
        if audited:
            with audit(learner):
                learner.fit(1)
        else:
            learner.fit(1)
        return [*learner.model.state_dict().values(), torch.get_rng_state()]

    with torch.random.fork_rng():
        assert all(map(torch.equal, trained(True), trained(False)))


def test_after_it_the_learner_is_as_before():
    learner = toy_learner(
        at_step_end({"step.xs": Read}, lambda learner: learner.step.xs.add_(1)), runner=ThreadedRunner()
    )
    runner = learner.runner
    with audit(learner):
        assert type(learner.runner) is LinearRunner
    assert learner.runner is runner
    assert "handle" not in vars(learner)
    assert learner.fit(1).steps == 16


def test_callbacks_that_join_during_an_audit_are_audited():
    learner = toy_learner()
    with audit(learner):
        learner.fit(1)
        learner.add_callback(at_step_end({"step.xs": Read}, lambda learner: learner.step.xs.add_(1)))
        with pytest.raises(AuditError, match=r"Sneaky\.on_step_end changed"):
            learner.fit(1)


def test_a_handler_that_fails_fails_as_it_does_without():
    def body(learner):
        raise KeyError("mine")

    learner = toy_learner(at_step_end({}, body))
    with pytest.raises(KeyError, match="mine"), audit(learner):
        learner.fit(1)


def test_a_handler_that_cancels_is_audited():
    def body(learner):
        learner.step.xs.add_(1)
        raise CancelStepException

    assert "`step.xs` was changed in place" in refusal(toy_learner(at_step_end({"step.xs": Read}, body)))


def test_the_end_of_a_fit_is_audited():
    class Late(Callback):
        state_access = {"params": Read}

        def on_fit_end(self, learner):
            learner.params["weight"].data.zero_()

    assert refusal(toy_learner(Late())).startswith("Late.on_fit_end changed what Late does not declare")


def test_a_throttled_callback_is_audited_under_its_own_name():
    sneaky = at_step_end({"step.xs": Read}, lambda learner: learner.step.xs.add_(1))
    assert refusal(toy_learner(throttle(sneaky, StepEnd, freq=3))).startswith("Sneaky.on_step_end changed")


# Operations.


class Around(Callback):
    """Wraps the forward pass, and does something before or after it."""

    state_access = {"step.xs": Read}

    def __init__(self, before=lambda learner: None, after=lambda learner: None) -> None:
        self.before, self.after = before, after

    @hookimpl(wrapper=True)
    def forward(self, learner):
        self.before(learner)
        yhats = yield
        self.after(learner)
        return yhats


@pytest.mark.parametrize("when", ["before", "after"])
def test_both_parts_of_a_wrapper_are_audited(when):
    text = refusal(toy_learner(Around(**{when: lambda learner: learner.step.xs.add_(1)})))
    assert text.startswith(
        "Around.forward changed what Around does not declare `Write`:\n  `step.xs` was changed in place."
    )


def test_what_happens_inside_a_wrapper_is_not_reported_as_its():
    learner = noisy_learner(Around())
    with audit(learner):
        assert learner.fit(1).steps == 16


def test_a_wrapper_may_turn_gradients_off_while_the_operation_runs():
    class Frozen(Callback):
        @hookimpl(wrapper=True)
        def loss(self):
            with torch.no_grad():
                loss = yield
            return loss.requires_grad_()

    learner = toy_learner(Frozen())
    with audit(learner):
        assert learner.fit(1).steps == 16


def test_a_callback_that_overrides_forward_may_draw_numbers_and_change_buffers():
    class Override(Callback):
        state_access = {"model": Read, "step.xs": Read}

        def forward(self, learner):
            return learner.model(learner.step.xs)

    learner = noisy_learner(Override())
    with audit(learner):
        assert learner.fit(1).steps == 16


def test_a_callback_that_overrides_update_declares_what_it_changes():
    class Override(Callback):
        state_access = {"optimizer": Read}

        def update(self, learner):
            learner.optimizer.step()
            return True

    text = refusal(toy_learner(Override()))
    assert text == (
        "Override.update changed what Override does not declare `Write`:\n"
        "  `params.weight` was changed in place.\n"
        "  Fix: add to Override.state_access:\n"
        '      "params": Write'
    )


def test_a_callback_that_overrides_a_whole_step_is_not_audited_there():
    class Twice(Callback):
        def step(self, learner, phase, batch):
            random.random()

    learner = toy_learner(Twice())
    with audit(learner):
        assert learner.fit(1).steps == 16


# The check.


def test_a_change_in_place_of_what_is_only_read_is_found(failed):
    class Clamps(Callback):
        state_access = {"step.grads": Read, "params": Read}

        def on_backward_end(self, learner):
            for name in learner.params:
                learner.step.grads[name].clamp_(-0.01, 0.01)

    found = failed(Clamps)
    assert found["audit"] == (
        "Clamps.on_backward_end changed what Clamps does not declare `Write`:\n"
        "  the gradient of `params.weight` was changed in place.\n"
        "  Fix: change in Clamps.state_access:\n"
        '      "step.grads": Write'
    )
    assert found["watching"].startswith("After step 1 the weights are different from those without it.\nFix:")


def test_what_a_partner_changes_is_not_reported_as_the_callbacks(Mean):
    class Sneaky(Callback):
        state_access = {"step.xs": Read}

        def on_step_end(self, learner):
            learner.step.xs.add_(0)

    assert check_callback(Mean, partners=[Sneaky]).failed == 0
