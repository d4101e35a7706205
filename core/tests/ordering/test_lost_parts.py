"""Who overrides `update` and may compute gradients anew, beside those that have a part in them."""

from contextlib import nullcontext

import pytest
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CallbackConflictError,
    NoConflict,
    NotDefined,
    Read,
    TrainingPhase,
    ValidationPhase,
    Write,
    hookimpl,
    toy_learner,
)

LOOP = {"loop": Write, "step": Write, "model": Write, "optimizer": Write}
GRADS = {"step.grads": Write, "optimizer": Write}


def wrapper(self):
    return (yield)


def plain(self): ...


def in_training(self, phase: AbstractTrainingPhase): ...


def in_validation(self, phase: ValidationPhase): ...


def make(name: str, handler=plain, *, at: str, access=None, **facets) -> Callback:
    return type(name, (Callback,), {at: handler, "state_access": access or {}, **facets})()


def closure(access=GRADS, **facets) -> Callback:
    return make("Closure", access=access, at="update", **facets)


CLIP = {"step.grads": Write}


def test_who_changes_whole_gradients_is_refused_with_the_line_that_settles_it() -> None:
    clip = make("Clip", at="on_update_begin", access=CLIP)
    with pytest.raises(CallbackConflictError) as refused:
        toy_learner(closure(LOOP), clip)
    (problem,) = refused.value.problems
    assert problem.what == (
        "Closure overrides `update` and, by what it declares, may compute the gradients anew there, without Clip, "
        "which has a part in them at `on_update_begin`."
    )
    assert problem.fix == (
        "leave one of them out, or, if Closure uses the gradients that are there, or does not need Clip, say so where "
        "the learner is made:\n"
        '    Learner(..., resolve={("Closure", "Clip"): "any"})\n'
        "Or, if you wrote Clip, let it wrap `finalize_gradients`, and if you wrote Closure, declare `loop` and compute "
        "the gradients by the operations, to which such callbacks belong:\n"
        "    learner.loop.perform(Forward), ... (Loss), ... (Backward), ... (FinalizeGradients)"
    )
    toy_learner(closure(LOOP), clip, resolve={("Closure", "Clip"): "any"})


@pytest.mark.parametrize(
    ("access", "at", "refused"),
    [
        (GRADS, "on_update_begin", True),
        (GRADS, "on_backward_end", True),
        (GRADS, "finalize_gradients", True),
        (GRADS, "backward", True),
        (GRADS, "forward", True),
        (GRADS, "on_update_end", False),
        (GRADS, "on_step_begin", False),
        (LOOP, "on_update_begin", True),
        (LOOP, "on_backward_end", True),
        (LOOP, "finalize_gradients", False),
        (LOOP, "backward", False),
        ({"step": Write, "optimizer": Write}, "on_update_begin", False),
        ({"model": Write, "step.grads": Read}, "on_update_begin", False),
    ],
)
def test_it_depends_on_what_is_declared_and_where_the_other_stands(access, at, refused) -> None:
    clip = make("Clip", plain if at.startswith("on_") else hookimpl(wrapper=True)(wrapper), at=at, access=CLIP)
    outcome = pytest.raises(CallbackConflictError, match="the gradients anew") if refused else nullcontext()
    with outcome:
        toy_learner(closure(access), clip, resolve={("Closure", "Clip"): "first"})


def test_a_guard_has_a_part_also_where_it_only_looks() -> None:
    with pytest.raises(CallbackConflictError, match="without Looks, which has a part in them at `on_update_begin`"):
        toy_learner(closure(), make("Looks", at="on_update_begin", access={"step.grads": Read}, guard=True))
    toy_learner(closure(), make("Looks", at="on_update_begin", access={"step.grads": Read}))


def test_who_sees_every_backward_pass_sees_those_that_are_performed() -> None:
    guard = make("Guard", at="on_backward_end", guard=True, every_backward=True)
    toy_learner(closure(LOOP), guard)
    with pytest.raises(CallbackConflictError, match="without Guard"):
        toy_learner(closure(GRADS), guard)


def test_who_wraps_update_is_not_meant() -> None:
    around = make("Around", hookimpl(wrapper=True)(wrapper), at="update", access=CLIP)
    toy_learner(around, make("Clip", at="on_update_begin", access=CLIP))


def test_what_is_done_in_validation_is_in_no_update() -> None:
    toy_learner(closure(), make("Swap", in_validation, at="on_backward_end", access=CLIP))
    toy_learner(make("Closure", in_validation, at="update", access=GRADS), make("C", at="on_update_begin", access=CLIP))
    with pytest.raises(CallbackConflictError):
        toy_learner(closure(), make("C", in_training, at="on_update_begin", access=CLIP))


def test_either_of_the_two_or_a_function_of_the_user_settles_it() -> None:
    def resolve(self, other):
        return NoConflict() if other.name in ("Clip", "Closure") else NotDefined()

    clip = make("Clip", at="on_update_begin", access=CLIP)
    toy_learner(closure(resolve_conflict=resolve), clip)
    toy_learner(closure(), make("Clip", at="on_update_begin", access=CLIP, resolve_conflict=resolve))
    toy_learner(closure(), clip, resolve=lambda first, second: NoConflict())


def test_it_is_one_of_all_problems() -> None:
    clip, other = (make(name, at="on_update_begin", access=CLIP) for name in ("Clip", "Other"))
    with pytest.raises(CallbackConflictError) as refused:
        toy_learner(closure(), clip, other)
    pairs = {tuple(sorted(callback.name for callback in problem.callbacks)) for problem in refused.value.problems}
    assert pairs == {("Clip", "Closure"), ("Clip", "Other"), ("Closure", "Other")}


def test_the_plan_shows_both_where_it_is_settled() -> None:
    clip = make("Clip", in_training, at="on_update_begin", access=CLIP)
    plan = str(toy_learner(closure(), clip, resolve={("Clip", "Closure"): "any"}).plan([TrainingPhase()]))
    assert "on_update_begin  Clip" in plan
    assert "update           Closure" in plan
