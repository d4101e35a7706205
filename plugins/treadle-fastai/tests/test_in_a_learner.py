"""A callback written for fastai v1 in a `Learner`, beside native ones."""

import pytest
import torch
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    CallbackConflictError,
    LinearRunner,
    Read,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    Write,
    run_step,
    throttle,
    toy_learner,
)
from treadle import (
    Callback as NativeCallback,
)
from treadle.authoring import handles
from treadle.errors import CallbackError, ProtectedException
from treadle.events import StepEnd
from treadle_fastai import AverageMetric, Callback, LearnerCallback
from treadle_optim import Accumulate, ClipGradients

HANDLERS = (
    *("train_begin", "epoch_begin", "batch_begin", "loss_begin", "backward_begin", "backward_end", "step_end"),
    *("batch_end", "epoch_end", "train_end"),
)


def log_of(*keywords):
    """A callback that notes every handler with some keywords."""

    def handler(name):
        def handle(self, **kwargs):
            self.log.append((name, *(kwargs[key] for key in keywords)))

        return handle

    callback = type("Log", (Callback,), {f"on_{name}": handler(name) for name in HANDLERS})()
    callback.log = []
    callback.exclude = ["log"]
    return callback


TRAINED = ["batch_begin", "loss_begin", "backward_begin", "backward_end", "step_end", "batch_end"]
VALIDATED = ["batch_begin", "loss_begin", "batch_end"]


def test_all_handlers_are_called_in_the_order_of_fastai() -> None:
    log = log_of()
    toy_learner(log, nbatches=2).fit(1)
    names = [name for (name,) in log.log]
    assert names == ["train_begin", "epoch_begin", *2 * TRAINED, *2 * VALIDATED, "epoch_end", "train_end"]


def test_everything_is_counted_from_0_and_again_in_each_fit() -> None:
    log = log_of("n_epochs", "epoch", "iteration", "num_batch", "train")
    learner = toy_learner(log, nbatches=2)
    for _ in range(2):
        log.log.clear()
        learner.fit(2)
        assert [entry[1:] for entry in log.log if entry[0] == "batch_end"] == [
            *((2, 0, 0, 0, True), (2, 0, 1, 1, True), (2, 0, 2, 2, False), (2, 0, 2, 2, False)),
            *((2, 1, 2, 0, True), (2, 1, 3, 1, True), (2, 1, 4, 2, False), (2, 1, 4, 2, False)),
        ]
        assert log.log[0][1:] == (2, 0, 0, 0, None)
        assert [entry[1:] for entry in log.log if entry[0] == "epoch_begin"] == [
            (2, 0, 0, 0, None),
            (2, 1, 2, 0, False),
        ]
        assert [entry[1:] for entry in log.log if entry[0] == "epoch_end"] == [(2, 0, 2, 2, False), (2, 1, 4, 2, False)]
        assert log.log[-1][1:] == (2, 2, 4, 2, False)


def test_the_keywords_are_the_learners_state() -> None:
    seen = {}

    class See(Callback):
        def on_batch_end(self, last_input, last_target, last_output, last_loss, train, **kwargs):
            seen[train] = last_input, last_target, last_output, last_loss

    learner = toy_learner(See(), nbatches=1)
    learner.fit(1)
    state = learner.step
    assert [a is b for a, b in zip(seen[False], (state.xs, state.ys, state.yhats), strict=False)] == [True] * 3
    assert seen[False][3] == state.loss
    assert not seen[True][3].requires_grad


def test_the_smoothed_loss_is_that_of_the_losses_before_anybody_changes_them() -> None:
    raw, smoothed = [], []

    class Penalty(Callback):
        def on_backward_begin(self, last_loss, smooth_loss, **kwargs):
            raw.append(last_loss.item())
            smoothed.append(smooth_loss.item())
            return {"last_loss": 3 * last_loss}

    class Later(Callback):
        _order = 1

        def on_backward_end(self, smooth_loss, **kwargs):
            assert smooth_loss == smoothed[-1]

    toy_learner(Penalty(), Later(), nbatches=3).fit(1)
    mean = 0.0
    for n, (loss, smooth) in enumerate(zip(raw, smoothed, strict=True), start=1):
        mean = 0.98 * mean + 0.02 * loss
        assert smooth == pytest.approx(mean / (1 - 0.98**n))


def test_that_is_so_also_if_who_changes_them_takes_no_mean() -> None:
    smoothed = {}

    class Penalty(Callback):
        def on_backward_begin(self, last_loss):
            return last_loss + 100

    class Smooth(Callback):
        _order = 1

        def on_batch_end(self, smooth_loss, train):
            smoothed.setdefault("Penalty" in names, []).append(float(smooth_loss))

    for callbacks in ([Smooth()], [Penalty(), Smooth()]):
        names = [callback.name for callback in callbacks]
        toy_learner(*callbacks, nbatches=3).fit(1)
    assert smoothed[True] == smoothed[False]


# What a handler returns.


@pytest.mark.parametrize(
    "returned",
    [lambda xs, ys: {"last_input": 2 * xs, "last_target": 5 * ys}, lambda xs, ys: (2 * xs, 5 * ys)],
    ids=["a dictionary", "the older way"],
)
def test_on_batch_begin_changes_the_batch(returned) -> None:
    class Change(Callback):
        def on_batch_begin(self, last_input, last_target, **kwargs):
            return returned(last_input, last_target)

    learner = toy_learner(Change(), nbatches=1)
    xs, ys = learner.data.validation[0]
    learner.fit(1)
    assert torch.equal(learner.step.xs, 2 * xs)
    assert torch.equal(learner.step.ys, 5 * ys)


@pytest.mark.parametrize("keyword", [True, False])
def test_on_loss_begin_changes_the_output_and_on_backward_begin_the_loss(keyword) -> None:
    class Change(Callback):
        def on_loss_begin(self, last_output, **kwargs):
            return {"last_output": 0 * last_output} if keyword else 0 * last_output

        def on_backward_begin(self, last_loss, **kwargs):
            return {"last_loss": last_loss + 7} if keyword else last_loss + 7

    learner = toy_learner(Change(), nbatches=1)
    learner.fit(1, (learner.data.training,))
    assert not learner.step.yhats.any()
    assert learner.step.loss == learner.step.ys.abs().mean() + 7


class Returning(Callback):
    """Return something from a handler, in one batch."""

    skips_validation = True

    def __init__(self, handler, returned, iteration=1, train=True):
        def handle(**kwargs):
            is_batch = handler in ("on_epoch_end", "on_train_begin")
            return returned if is_batch or (kwargs["iteration"], kwargs["train"]) == (iteration, train) else None

        setattr(self, handler, handle)


@pytest.mark.parametrize("returned", [True, {"stop_epoch": True}])
def test_on_batch_end_stops_the_epoch(returned) -> None:
    log = log_of()
    result = toy_learner(Returning("on_batch_end", returned), log, nbatches=4).fit(1)
    assert (result.steps, result.cancelled) == (2, None)
    assert [name for (name,) in log.log].count("epoch_end") == 1  # after a whole validation
    assert [name for (name,) in log.log].count("batch_end") == 2 + 4


@pytest.mark.parametrize("returned", [True, {"stop_training": True}])
def test_on_epoch_end_stops_the_training(returned) -> None:
    result = toy_learner(Returning("on_epoch_end", returned), nbatches=2).fit(5)
    assert result.steps == 2
    assert str(result.cancelled) == "Returning returned `stop_training`."


def test_stop_training_of_a_batch_takes_effect_at_the_end_of_the_epoch() -> None:
    log = log_of()
    stop = Returning("on_batch_end", {"stop_training": True, "stop_epoch": True})
    result = toy_learner(stop, log, nbatches=4).fit(5)
    assert (result.steps, str(result.cancelled)) == (2, "Returning returned `stop_training`.")
    assert [name for (name,) in log.log].count("epoch_end") == 1


@pytest.mark.parametrize("returned", [True, {"skip_step": True}])
def test_on_backward_end_leaves_out_the_optimizers_step(returned) -> None:
    log, weights = log_of(), []

    class Weights(NativeCallback):
        state_access = {"model": Read}

        def on_step_end(self, learner, phase: TrainingPhase):
            weights.append(learner.model.weight.item())

    learner = toy_learner(Returning("on_backward_end", returned), Weights(), log, nbatches=3)
    learner.fit(1)
    assert weights[0] == weights[1] != weights[2]
    assert learner.progress.updates == 2
    assert [name for (name,) in log.log].count("step_end") == 3  # also after a step that was left out, as in fastai


def test_stop_training_is_taken_back_by_a_later_batch_or_callback_as_in_fastai() -> None:
    def asks(name, handler, when):
        def handle(self, iteration, **kwargs):
            return {"stop_training": when(iteration)}

        return type(name, (Callback,), {handler: handle})()

    def epochs(*callbacks):
        return toy_learner(*callbacks, nbatches=4).fit(3, None).epochs

    assert epochs(asks("A", "on_batch_end", lambda i: i == 1)) == 3
    assert epochs(asks("A", "on_batch_end", lambda i: i in (3, 4))) == 1
    assert epochs(asks("A", "on_batch_end", lambda i: True), asks("B", "on_batch_end", lambda i: False)) == 3
    assert epochs(asks("A", "on_batch_end", lambda i: False), asks("B", "on_batch_end", lambda i: True)) == 1
    assert epochs(asks("A", "on_epoch_end", lambda i: False), asks("B", "on_batch_end", lambda i: True)) == 3


def test_an_update_that_an_epoch_ends_in_is_of_its_last_batch() -> None:
    log = log_of("iteration", "num_batch")
    toy_learner(log, Accumulate(2), nbatches=3).fit(2, None)
    assert [entry for entry in log.log if entry[0] in ("backward_end", "step_end")] == [
        *(("backward_end", 1, 1), ("step_end", 1, 1), ("backward_end", 2, 2), ("step_end", 2, 2)),
        *(("backward_end", 4, 1), ("step_end", 4, 1), ("backward_end", 5, 2), ("step_end", 5, 2)),
    ]


def test_an_update_inside_of_another_takes_nothing_of_what_was_asked_for_in_that() -> None:
    seen = []

    class Train(LearnerCallback):
        state_access = {"loop": Write, "data": Read, "callbacks": Read}

        def on_backward_end(self, **kwargs):
            if not seen:
                seen.append("inside")
                self.learn.loop.step(TrainingPhase(), self.learn.data.train_dl[0])
                seen.append("outside")
                return {"skip_step": True}
            return None

        def on_step_end(self, iteration, **kwargs):
            seen.append(iteration)

    learner = toy_learner(Train(), nbatches=2)
    learner.fit(1, None)
    assert seen[:4] == ["inside", 0, "outside", 1]
    assert learner.progress.updates == 2


class Inner(AbstractTrainingPhase):
    """A phase that makes its updates by itself."""

    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (_, state):
            state.loss = learner.lossfn(learner.model(state.xs), state.ys)
            learner.optimizer.zero_grad()
            state.loss.backward()
            learner.optimizer.step()


@pytest.mark.parametrize("handler", ["on_loss_begin", "on_backward_begin", "on_backward_end", "on_step_end"])
def test_a_phase_that_never_comes_to_a_handler_is_refused(handler) -> None:
    def handle(self, **kwargs): ...

    callback = type("Passed", (Callback,), {handler: handle})()
    with pytest.raises(
        CallbackError,
        match=r"^Passed is a guard and handles .*Inner ended without it.*\nFix: use a phase that does all",
    ):
        toy_learner(callback).fit(1, phases=[Inner()])


def test_on_step_end_after_a_step_that_was_left_out_is_of_the_same_batch() -> None:
    log = log_of("iteration", "num_batch")
    toy_learner(Returning("on_backward_end", True), log, nbatches=3).fit(1)
    of_batch = {name: [entry[1:] for entry in log.log if entry[0] == name] for name in ("backward_end", "step_end")}
    assert of_batch["backward_end"] == of_batch["step_end"] == [(0, 0), (1, 1), (2, 2)]


def reference(nbatches, *, keep=(), skip=(), no_backward=(), optimizer, epochs=1):
    """The weights of the loop that fastai runs: the gradients are set to 0 after a step, unless they are kept."""
    learner = toy_learner(nbatches=nbatches, optimizer=optimizer)
    model, optimizer, weights = learner.model, learner.optimizer, []
    for i, (xs, ys) in enumerate(epochs * list(learner.data.training)):
        loss = learner.lossfn(model(xs), ys)
        if i not in no_backward:
            loss.backward()
        if i not in skip:
            optimizer.step()
        if i not in keep:
            optimizer.zero_grad(set_to_none=False)
        weights.append(model.weight.item())
    return weights


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=0.0001, momentum=0.9, weight_decay=0.1)


class Weights(NativeCallback):
    """Note the weight at the end of each step."""

    state_access = {"model": Read}

    def __init__(self) -> None:
        self.weights: list[float] = []

    def on_step_end(self, learner, phase: TrainingPhase):
        self.weights.append(learner.model.weight.item())


def test_skip_bwd_lets_the_optimizer_step_by_gradients_of_0() -> None:
    weights = Weights()
    skip = Returning("on_backward_begin", {"skip_bwd": True}, iteration=2)
    toy_learner(skip, weights, nbatches=4, optimizer=momentum).fit(1)
    assert weights.weights == reference(4, no_backward=[2], optimizer=momentum)


def test_skip_step_and_skip_zero_add_up_the_gradients_of_several_batches() -> None:
    class EverySecond(Callback):
        def on_backward_end(self, iteration, **kwargs):
            return {"skip_step": True, "skip_zero": True} if iteration % 2 == 0 else None

    weights = Weights()
    toy_learner(EverySecond(), weights, nbatches=4, optimizer=momentum).fit(2)
    assert weights.weights == reference(4, keep=[0, 2, 4, 6], skip=[0, 2, 4, 6], optimizer=momentum, epochs=2)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("clip", ["native", "fastai"])
def test_gradients_of_several_batches_are_not_added_up_beside_one_that_would_get_parts_of_them(older, clip) -> None:
    class Adding(Callback):
        def on_backward_end(self, iteration, **kwargs):
            skip = iteration % 2 == 0
            return skip if older else {"skip_step": skip, "skip_zero": skip}

        def on_step_end(self, iteration, **kwargs):
            return iteration % 2 == 0 if older else None

    class Clip(LearnerCallback):
        def on_backward_end(self, **kwargs):
            nn.utils.clip_grad_norm_(self.learn.model.parameters(), 1.0)

    clips = ClipGradients(norm=1.0) if clip == "native" else Clip()
    with pytest.raises(
        CallbackError,
        match=r"^Adding adds up the gradients of several batches by `skip_step` and `skip_zero`, and Clip\w* got "
        r"those of a part of them at `on_update_begin`.*\nFix: leave one of them out; .*\n    Accumulate\(4\)",
    ):
        toy_learner(Adding(), clips, nbatches=4).fit(1)


def test_gradients_that_are_kept_beside_others_that_somebody_makes_whole_are_refused() -> None:
    keep = Returning("on_backward_end", {"skip_zero": True}, iteration=2)
    with pytest.raises(
        CallbackError, match=r"returned `skip_zero`, and Accumulate makes the gradients .*\nFix: leave one"
    ):
        toy_learner(keep, Accumulate(3), nbatches=6).fit(1)
    keep = Returning("on_backward_end", {"skip_zero": True})
    keep.state_access = {"step.loss": Read}
    with pytest.raises(CallbackError, match=r'depends on the other callbacks\.\nFix: add .*\n    "callbacks": Read'):
        toy_learner(keep).fit(1)


def test_skip_zero_alone_keeps_the_gradients_after_a_step_and_for_the_next_epoch() -> None:
    class Keep(Callback):
        def on_step_end(self, **kwargs):
            return True

    weights = Weights()
    learner = toy_learner(Keep(), weights, nbatches=3, optimizer=momentum)
    learner.fit(2)
    again = toy_learner(nbatches=3)
    expected = toy_learner(nbatches=3, optimizer=momentum)
    model, found = expected.model, []
    for _ in range(2):
        for xs, ys in again.data.training:
            expected.lossfn(model(xs), ys).backward()
            expected.optimizer.step()
            found.append(model.weight.item())
    assert weights.weights == found
    assert learner.progress.updates == 6


def test_skip_validate_leaves_out_validation() -> None:
    log = log_of("last_metrics")
    result = toy_learner(Returning("on_train_begin", {"skip_validate": True}), log, nbatches=2).fit(2)
    assert result.epochs == 2
    assert [entry for entry in log.log if entry[0] == "epoch_end"] == [("epoch_end", [None])] * 2
    assert [entry[0] for entry in log.log].count("batch_end") == 4


def test_a_callback_whose_handler_names_the_keyword_is_known_to_skip_validation_and_another_says_so() -> None:
    class Skip(Callback):
        def on_train_begin(self, **kwargs):
            return {"skip_validate": True}

    class Hidden(Callback):
        def on_train_begin(self, **kwargs):
            return {"_".join(("skip", "validate")): True}

    assert handles(Skip(), "epoch")
    assert not handles(Hidden(), "epoch")
    with pytest.raises(
        CallbackError, match=r"does not stand in it.*\nFix: say so in Hidden:\n    skips_validation = True"
    ):
        toy_learner(Hidden()).fit(1)


def test_what_one_callback_asks_for_when_training_begins_is_kept_when_the_next_one_begins() -> None:
    class A(Callback):
        def on_train_begin(self, **kwargs):
            return {"skip_validate": True}

    class B(Callback):
        def on_train_begin(self, skip_validate, **kwargs):
            self.skips = skip_validate

    learner = toy_learner(A(), second := B(), log := log_of("train"), nbatches=2)
    for _ in range(2):
        log.log.clear()
        learner.fit(1)
        assert second.skips
        assert ("batch_end", False) not in log.log


def test_the_state_of_a_callback_is_given_out_as_fastai_does_it() -> None:
    callback = Callback()
    callback.best, callback.file, callback.history = 1.0, "a", [1, 2]
    callback.exclude, callback.not_min = ["file"], ["history"]
    assert callback.get_state() == {"best": 1.0}
    assert callback.get_state(minimal=False) == {"best": 1.0, "history": [1, 2]}


def test_the_metrics_of_an_epoch_begin_with_the_loss_of_validation_and_go_on_to_later_callbacks() -> None:
    def error(output, target):
        return (output - target).abs().mean()

    class Last(Callback):
        _order = 10

        def on_epoch_end(self, last_metrics, **kwargs):
            self.metrics = last_metrics

    last, metric = Last(), AverageMetric(error)
    learner = toy_learner(last, metric, nbatches=3)
    learner.fit(2)
    assert metric.metric == pytest.approx(last.metrics[0])  # the loss is the same function
    assert last.metrics[1:] == [metric.metric]
    assert learner.cbstate.fastai.last_metrics == last.metrics


@pytest.mark.parametrize("order", [-10, 0])
def test_metrics_run_before_all_other_callbacks_as_in_fastai(order) -> None:
    def error(output, target):
        return (output - target).abs().mean()

    class Best(Callback):  # whose name comes before that of the metric
        _order = order

        def on_epoch_end(self, last_metrics, **kwargs):
            self.metrics = last_metrics

    best, metric = Best(), AverageMetric(error)
    toy_learner(best, metric, nbatches=3).fit(2)
    assert best.metrics[1:] == [metric.metric]


def test_the_losses_of_validation_are_weighed_by_their_rows() -> None:
    log = log_of("last_metrics")
    learner = toy_learner(log, nbatches=1)
    learner.model.weight.data.zero_()
    ones, rest = torch.ones(3, 1), torch.full((1, 1), 5.0)
    learner.fit(1, {"training": [(0 * ones, ones)], "validation": [(ones, ones), (rest, rest)]})
    weight = learner.model.weight.item()
    (metrics,) = [entry[1] for entry in log.log if entry[0] == "epoch_end"]
    assert metrics == [pytest.approx(((1 - weight) * 3 + (5 - 5 * weight)) / 4)]


def test_in_a_fit_by_steps_an_epoch_is_a_pass_over_the_data_and_its_metrics_are_of_the_last_validation() -> None:
    log = log_of("epoch", "iteration", "last_metrics")
    learner = toy_learner(log, nbatches=4)
    learner.fit(steps=8, validate_every=2)
    entries = [entry for entry in log.log if entry[0] in ("epoch_begin", "epoch_end")]
    assert [entry[:2] for entry in entries] == [
        ("epoch_begin", 0),
        ("epoch_end", 0),
        ("epoch_begin", 1),
        ("epoch_end", 1),
    ]
    assert all(entry[3][0] > 0 for entry in entries if entry[0] == "epoch_end")
    assert [entry[0] for entry in log.log].count("batch_end") == 8 + 4 * 4


def test_what_changes_the_inputs_does_it_in_an_evaluation_too_and_nothing_is_recorded() -> None:
    class Zero(Callback):
        def on_batch_begin(self, last_input, **kwargs):
            return {"last_input": 0 * last_input}

    log = log_of("iteration")
    learner = toy_learner(Zero(), log, nbatches=2)
    learner.fit(1)
    torch.nn.init.ones_(learner.model.weight)
    before, entries = dict(learner.cbstate.fastai), len(log.log)
    assert not learner.predict(learner.data.validation).any()
    learner.evaluate()
    assert dict(learner.cbstate.fastai) == before
    assert [name for name, _ in log.log[entries:]].count("batch_end") == 0


def test_a_handler_may_enter_the_loop_again_and_is_called_in_there() -> None:
    seen = []

    class Validate(LearnerCallback):
        state_access = {"loop": Write, "step.loss": Read}

        def on_batch_end(self, train, iteration, last_loss, **kwargs):
            if train:
                self.learn.loop.epoch(ValidationPhase())
                assert self.learn.step.loss == last_loss
            seen.append((train, iteration))

    toy_learner(Validate(), nbatches=2).fit(1)
    inner, outer = [(False, 1), (False, 1)], [(True, 0)]
    assert seen[:3] == inner + outer
    assert len(seen) == 8


# How it ends.


def test_on_train_end_is_always_called_and_told_the_exception() -> None:
    log = log_of("iteration")

    class End(Callback):
        def on_train_end(self, exception, **kwargs):
            self.exception = exception

    end = End()
    toy_learner(end).fit(1)
    assert end.exception is False

    log = Returning("on_batch_end", None)
    log.on_batch_end = lambda **kwargs: 1 / 0
    with pytest.raises(ZeroDivisionError) as info:
        toy_learner(end, log).fit(1)
    assert end.exception is info.value

    try:
        raise KeyError
    except KeyError:  # one that is none of this fit
        toy_learner(end).fit(1)
    assert end.exception is False


# What is refused.


@pytest.mark.parametrize(
    ("handler", "returned", "message"),
    [
        ("on_batch_begin", {"lst_input": 1}, r"returned a value for 'lst_input', .* Did you mean `last_input`\?\nFix"),
        (
            "on_batch_end",
            {"last_input": 1},
            r"Returning\.on_batch_end returned last_input=1, which changes nothing there: the loop takes over "
            r"`stop_epoch`, `stop_training` from it\.\nFix: return it from on_batch_begin\.",
        ),
        (
            "on_step_end",
            {"skip_step": True},
            r"takes over `skip_zero` from it\.\nFix: return it from on_backward_end\.",
        ),
        (
            "on_train_begin",
            {"epoch": 3},
            r"epoch=3, which .*`skip_validate` from it\.\nFix: resume the run, whose .*\n    resume\(learner",
        ),
        (
            "on_epoch_end",
            {"num_batch": 3.5},
            r"num_batch=3.5, which .*`stop_training` from it\.\nFix: leave it out; only the loop",
        ),
    ],
)
def test_a_value_that_would_change_nothing_is_refused(handler, returned, message) -> None:
    with pytest.raises(CallbackError, match=message):
        toy_learner(Returning(handler, returned)).fit(1)


def test_a_value_that_changes_nothing_since_it_is_the_present_one_is_not() -> None:
    assert toy_learner(Returning("on_train_begin", {"epoch": 0})).fit(1).epochs == 1


def test_a_handler_that_there_is_not_is_refused_when_a_learner_gets_the_callback() -> None:
    class Wrong(Callback):
        def on_batch_start(self, **kwargs): ...

    with pytest.raises(
        CallbackError, match=r"Wrong has a method `on_batch_start`.*\nFix: rename it; there are on_train"
    ):
        toy_learner(Wrong())


def test_gradients_of_ones_own_beside_skip_bwd_are_refused() -> None:
    class Own(LearnerCallback):
        def on_backward_begin(self, last_loss, **kwargs):
            last_loss.backward()
            return {"skip_bwd": True}

    with pytest.raises(
        CallbackError, match=r"returned `skip_bwd` and has computed gradients by itself.*\nFix: do it wh"
    ):
        toy_learner(Own()).fit(1)


# Access and order.


def test_what_it_may_touch_follows_from_its_handlers() -> None:
    class Plain(Callback):
        def on_batch_begin(self, **kwargs): ...

    class WithLearner(LearnerCallback):
        def on_train_begin(self, **kwargs): ...

    assert Plain().state_access == {"step.xs": Write, "step.ys": Write, "cbstate.fastai": Write}
    assert WithLearner().state_access == {"cbstate.fastai": Write}


def look(callback):
    return callback.learn.opt


class Body:
    """What a handler may do with the learner."""

    def by_its_parts(self, **kwargs):
        self.learn.opt.lr *= 2
        return [p.shape for p in self.learn.model.parameters()]

    def by_another_name(self, **kwargs):
        learn = self.learn
        learn.loss_func = None

    def passed_on(self, **kwargs):
        print(self.learn)

    def passed_on_itself(self, **kwargs):
        look(self)

    def by_its_name(self, **kwargs):
        getattr(self, "learn")  # noqa: B009

    def by_the_optimizer(self, **kwargs):
        def inside():
            self.opt.mom = 0.9

        inside()


EVERYTHING = {"model", "optimizer", "lossfn", "data"}


@pytest.mark.parametrize(
    ("handler", "parts"),
    [
        (Body.by_its_parts, {"model", "optimizer"}),
        (Body.by_another_name, EVERYTHING),
        (Body.passed_on, EVERYTHING),
        (Body.passed_on_itself, EVERYTHING),
        (Body.by_its_name, EVERYTHING),
        (Body.by_the_optimizer, {"optimizer"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_it_may_touch_of_the_learner_follows_from_its_code(handler, parts) -> None:
    class Passing(LearnerCallback):
        def __init__(self, learn=None):
            super().__init__(learn)

    callback = type("Reaching", (Passing,), {"on_epoch_begin": handler})()
    assert {path for path in callback.state_access if path in EVERYTHING} == parts


@pytest.mark.parametrize(
    ("handler", "keywords"),
    [
        (lambda self, last_output, **kwargs: None, {"last_output"}),
        (lambda self, **kwargs: kwargs["last_loss"], {"last_loss"}),
        (lambda self, **kwargs: (kwargs.get("last_input"), kwargs["train"]), {"last_input"}),
        (lambda self, **kwargs: print(kwargs), {"last_input", "last_target", "last_output", "last_loss"}),
        (lambda self, **kwargs: [kwargs["last_loss"] for _ in "a"], None),
    ],
)
def test_it_reads_of_a_step_what_its_code_looks_up(handler, keywords) -> None:
    entries = {"last_input": "xs", "last_target": "ys", "last_output": "yhats", "last_loss": "loss"}
    callback = type("Looking", (Callback,), {"on_batch_end": handler})()
    read = {path for path in callback.state_access if path.startswith("step.")}
    assert read == {f"step.{entries[keyword]}" for keyword in (entries if keywords is None else keywords)}


def test_the_message_of_a_conflict_offers_a_declaration_that_is_narrower() -> None:
    class Rise(LearnerCallback):
        def on_backward_end(self, **kwargs):
            self.learn.opt.lr *= 2

    class Native(NativeCallback):
        state_access = {"optimizer": Write}

        def on_update_begin(self, learner): ...

    with pytest.raises(
        CallbackConflictError,
        match=r"(?s)both write `optimizer`.*Or say what Rise touches, of which its code shows this much.*\n"
        r' +Rise\(\.\.\., state_access=\{"optimizer": Write\}\)',
    ):
        toy_learner(Rise(), Native())
    with pytest.raises(CallbackConflictError) as info:
        toy_learner(Rise(state_access={"optimizer": Write}), Native())
    assert "shows this much" not in str(info.value)


@pytest.mark.parametrize("how", ["argument", "class", "instance"])
def test_it_can_be_narrowed_and_is_kept_to_that(how) -> None:
    class Double(Callback):
        def on_batch_begin(self, last_input, **kwargs):
            return {"last_input": 2 * last_input}

    narrow = {"step.xs": Read}
    if how == "class":
        double = type("Double", (Double,), {"state_access": narrow})()
    else:
        double = Double(state_access=narrow) if how == "argument" else Double()
        double.state_access = narrow
    with pytest.raises(ProtectedException, match=r"Double writes `step\.xs`, which it declares `Read`"):
        toy_learner(double).fit(1)


def test_a_keyword_that_is_not_declared_is_none() -> None:
    seen = []

    class See(Callback):
        state_access = {"step.loss": Read}

        def on_batch_end(self, last_input, last_loss, **kwargs):
            seen.append((last_input, last_loss is None))

    toy_learner(See(), nbatches=1).fit(1, None)
    assert seen[0] == (None, False)


def test_the_learner_of_a_callback_lets_through_what_it_declares() -> None:
    class Touch(LearnerCallback):
        state_access = {"model": Read}

        def on_batch_end(self, **kwargs):
            self.learn.opt.lr = 1.0

    with pytest.raises(ProtectedException, match=r"^Touch reads `optimizer` and does not declare it"):
        toy_learner(Touch()).fit(1)


def test_two_of_them_run_by_their_orders_and_then_by_their_names() -> None:
    def add(name, number, order=0):
        def on_batch_begin(self, last_input, **kwargs):
            return {"last_input": number(last_input)}

        return type(name, (Callback,), {"_order": order, "on_batch_begin": on_batch_begin})()

    def trained(*callbacks):
        learner = toy_learner(*callbacks, nbatches=1)
        learner.fit(1)
        return learner.step.xs.flatten()[0] / toy_learner(nbatches=1).data.validation[0][0].flatten()[0]

    for make in (lambda *cbs: cbs, lambda *cbs: cbs[::-1]):
        twice, plus = add("B", lambda x: 2 * x), add("A", lambda x: 0 * x + 1)
        learner = toy_learner(*make(twice, plus), nbatches=1)
        learner.fit(1)
        assert learner.step.xs.unique().tolist() == [2.0]
        twice, plus = add("B", lambda x: 2 * x, order=-1), add("A", lambda x: 0 * x + 1)
        learner = toy_learner(*make(twice, plus), nbatches=1)
        learner.fit(1)
        assert learner.step.xs.unique().tolist() == [1.0]


def test_a_native_writer_of_the_same_needs_an_order() -> None:
    class Native(NativeCallback):
        state_access = {"step.xs": Write}

        def on_step_begin(self, learner):
            learner.step.xs = learner.step.xs + 1

    class Double(Callback):
        def on_batch_begin(self, last_input, **kwargs):
            return {"last_input": 2 * last_input}

    with pytest.raises(CallbackConflictError, match=r"Double and Native both write `step\.xs`"):
        toy_learner(Native(), Double())
    toy_learner(Native(), Double(), resolve={("Native", "Double"): "first"})


def test_what_a_native_callback_reads_is_what_it_changed() -> None:
    seen = []

    class Look(NativeCallback):
        state_access = {"step.xs": Read}

        def on_step_begin(self, learner):
            seen.append(learner.step.xs.unique().tolist())

    class Zero(Callback):
        def on_batch_begin(self, last_input, **kwargs):
            return {"last_input": 0 * last_input}

    toy_learner(Look(), Zero(), nbatches=1).fit(1)
    assert seen == [[0.0], [0.0]]


@pytest.mark.parametrize("runner", [LinearRunner, ThreadedRunner])
def test_threads_give_the_same_run(runner) -> None:
    class Noise(Callback):
        def on_batch_begin(self, last_input, iteration, **kwargs):
            return {"last_input": last_input + iteration}

    logs = [log_of("epoch", "iteration") for _ in range(2)]
    logs[1].name = "Log2"
    learner = toy_learner(*logs, Noise(), nbatches=3, runner=runner())
    learner.fit(2)
    expected = toy_learner(Noise(), nbatches=3)
    expected.fit(2)
    assert torch.equal(learner.model.weight, expected.model.weight)
    assert logs[0].log == logs[1].log


def test_it_is_found_by_its_class_and_can_be_throttled() -> None:
    class Count(Callback):
        def __init__(self) -> None:
            self.count = 0

        def on_batch_end(self, **kwargs):
            self.count += 1

    count = Count()
    learner = toy_learner(count, nbatches=4)
    assert learner.get_callback(Count) is count
    assert {"on_step_end", "Count"} <= set(str(learner.plan()).split())
    throttled = Count()
    toy_learner(throttle(throttled, StepEnd, freq=4), nbatches=4).fit(1)
    assert throttled.count == 2


# The learner under fastai's names.


def test_the_learner_has_fastais_names() -> None:
    class Names(LearnerCallback):
        def on_train_begin(self, **kwargs):
            assert isinstance(self.learn.model, nn.Linear)
            assert self.learn.loss_func is self.learn.lossfn
            assert len(self.learn.data.train_dl) == len(self.learn.data.valid_dl) == 2
            self.learn.opt.lr = 0.5
            self.opt.wd = 0.25

    learner = toy_learner(Names(), nbatches=2)
    learner.fit(1)
    group = learner.optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)


def test_the_optimizer_inside_and_the_loaders_can_be_exchanged() -> None:
    class Exchange(LearnerCallback):
        def on_train_begin(self, **kwargs):
            self.learn.opt.opt = torch.optim.SGD(self.learn.model.parameters(), lr=0.0)
            self.learn.data.train_dl = list(self.learn.data.train_dl)[:1]

    learner = toy_learner(Exchange(), nbatches=3)
    assert learner.fit(1).steps == 1
    assert learner.optimizer.param_groups[0]["lr"] == 0.0
    assert learner.model.weight.item() == 0.0


@pytest.mark.parametrize("name", ["opt", "data"])
def test_what_would_change_nothing_in_a_fit_cannot_be_set(name) -> None:
    class Exchange(LearnerCallback):
        def on_train_begin(self, **kwargs):
            setattr(self.learn, name, None)

    with pytest.raises(
        CallbackError, match=rf"Setting self\.learn\.{name} does not change it inside of a fit.*\nFix: c"
    ):
        toy_learner(Exchange()).fit(1)


def test_the_learner_is_there_in_handlers_or_where_it_was_passed() -> None:
    callback = LearnerCallback()
    with pytest.raises(CallbackError, match=r"LearnerCallback\.learn is there in its handlers alone.*\nFix: use it in"):
        _ = callback.learn
    learner = toy_learner()
    assert LearnerCallback(learner).learn.model is learner.model
    with pytest.raises(CallbackError, match=r"LearnerCallback got 'on_batch_end', which is not a setting"):
        LearnerCallback(on_batch_end=3)
