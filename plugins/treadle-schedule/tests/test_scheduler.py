import itertools

import pytest
import torch
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CallbackConflictError,
    CallbackError,
    CancelEpochException,
    CancelStepException,
    CancelUpdateException,
    CustomCallback,
    Learner,
    LossBegin,
    Read,
    StepBegin,
    TrainingPhase,
    UpdateBegin,
    ValidationPhase,
    Write,
    run_step,
    run_update,
    throttle,
    toy_learner,
)
from treadle.authoring import capture_run, update_under_way
from treadle_schedule import (
    Constant,
    Exp,
    HyperParameter,
    HyperParameterError,
    LearningRate,
    Momentum,
    OneCycle,
    ScheduleError,
    Scheduler,
    ScheduleRangeError,
    WeightDecay,
)
from treadle_schedule.scheduler import ticks


def clock(t):
    return float(t)


def momentum_sgd(params):
    return torch.optim.SGD(params, lr=0.001, momentum=0.9)


class Watch(Callback):
    """Notes what the optimizer's values are at each update."""

    state_access = {"optimizer": Read}

    def __init__(self):
        self.groups = []

    def on_backward_end(self, learner, phase: TrainingPhase):
        self.groups.append(dict(learner.optimizer.param_groups[0]))

    def __getitem__(self, key):
        return [group[key] for group in self.groups]


def record(learner, name="LearningRate"):
    series = learner.cbstate.hyperparams[name]
    return list(series.iterations), list(series.values)


class TestByStep:
    def test_the_first_step_is_made_with_the_first_value(self):
        watch = Watch()
        toy_learner(Scheduler({LearningRate: clock}), watch, nbatches=3).fit(2)
        assert watch["lr"] == [1, 2, 3, 4, 5, 6]

    def test_each_value_is_recorded_under_the_number_of_completed_steps(self):
        learner = toy_learner(Scheduler({LearningRate: clock}), nbatches=3)
        learner.fit(1)
        assert record(learner) == ([0, 1, 2], [1, 2, 3])

    def test_before_the_first_step_the_record_is_there_and_empty(self):
        assert record(toy_learner(Scheduler({LearningRate: clock}))) == ([], [])

    def test_another_fit_goes_on(self):
        learner = toy_learner(Scheduler({LearningRate: clock}), nbatches=2)
        learner.fit(1)
        learner.fit(1)
        assert record(learner) == ([0, 1, 2, 3], [1, 2, 3, 4])

    def test_reset_starts_the_schedule_again_and_not_the_record(self):
        scheduler = Scheduler({LearningRate: clock})
        learner = toy_learner(scheduler, nbatches=2)
        learner.fit(1)
        scheduler.reset()
        learner.fit(1)
        assert record(learner) == ([0, 1, 2, 3], [1, 2, 1, 2])

    def test_another_callback_in_the_middle_does_not_start_it_again(self):
        learner = toy_learner(Scheduler({LearningRate: clock}), nbatches=2)
        learner.fit(1)
        learner.add_callback(Watch())
        learner.fit(1)
        assert record(learner) == ([0, 1, 2, 3], [1, 2, 3, 4])

    def test_another_scheduler_in_its_place_goes_on_with_the_record(self):
        learner = toy_learner(Scheduler({LearningRate: clock}), nbatches=2)
        learner.fit(1)
        learner.replace_callback(Scheduler({LearningRate: 0.5}))
        learner.fit(1)
        assert record(learner) == ([0, 1, 2, 3], [1, 2, 0.5, 0.5])

    def test_validation_neither_sets_nor_counts(self):
        learner = toy_learner(Scheduler({LearningRate: clock}), nbatches=2)
        learner.fit(3)
        assert len(learner.data.validation) == 2
        assert record(learner)[0] == [0, 1, 2, 3, 4, 5]


class Cancel(Callback):
    """Raises an exception once, at an update."""

    def __init__(self, error, at):
        self.error, self.at, self.count = error, at, 0

    def on_backward_end(self, phase: TrainingPhase):
        self.count += 1
        if self.count == self.at:
            raise self.error


class TestCancelled:
    def test_a_cancelled_step_does_not_count_and_gets_its_value_again(self):
        watch = Watch()
        learner = toy_learner(Scheduler({LearningRate: clock}), watch, Cancel(CancelStepException(), at=2), nbatches=4)
        learner.fit(1)
        assert learner.progress.steps == 3
        assert record(learner) == ([0, 1, 2], [1, 2, 3])

    def test_a_cancelled_epoch_counts(self):
        scheduler = Scheduler({LearningRate: clock}, each="epoch")
        learner = toy_learner(scheduler, Cancel(CancelEpochException(), at=2), nbatches=2)
        learner.fit(2)
        assert record(learner) == ([0, 1, 2], [1, 1, 2])


class TestByEpoch:
    def test_all_steps_of_an_epoch_have_its_value(self):
        learner = toy_learner(Scheduler({LearningRate: clock}, each="epoch"), nbatches=2)
        learner.fit(3)
        assert record(learner) == ([0, 1, 2, 3, 4, 5], [1, 1, 2, 2, 3, 3])

    def test_another_unit_is_refused(self):
        with pytest.raises(
            ScheduleError,
            match=r"Scheduler\(each\) has an invalid value: 'batch'\.\nFix: pass 'update', 'step' or 'epoch'",
        ):
            Scheduler({LearningRate: 0.1}, each="batch")


class TestSeveral:
    def test_one_scheduler_sets_several_hyperparameters(self):
        watch = Watch()
        scheduler = Scheduler({LearningRate: Exp(1.0, 0.5), Momentum: Exp(0.5, 0.5), WeightDecay: 0.25})
        learner = toy_learner(scheduler, watch, optimizer=momentum_sgd, nbatches=3)
        learner.fit(1)
        assert watch["lr"] == [1, 0.5, 0.25]
        assert watch["momentum"] == [0.5, 0.25, 0.125]
        assert watch["weight_decay"] == [0.25, 0.25, 0.25]
        assert sorted(learner.cbstate.hyperparams) == ["LearningRate", "Momentum", "WeightDecay"]

    def test_a_number_is_a_constant(self):
        assert Scheduler({LearningRate: 0.1}).schedules == {LearningRate(): Constant(0.1)}

    def test_their_permissions_are_merged(self):
        class Damping(HyperParameter):
            state_access = {"model": Read, "data.training": Read, "optimizer": Read}

            def get(self, learner): ...

            def set(self, learner, value): ...

        assert Scheduler({LearningRate: clock, Damping: clock}).state_access == {
            "optimizer": Write,
            "model": Read,
            "cbstate.hyperparams": Write,
            "data": Read,
            "callbacks": Read,
        }

    def test_two_schedulers_of_different_hyperparameters_go_together(self):
        watch = Watch()
        one, other = Scheduler({LearningRate: clock}), Scheduler({Momentum: 0.5}, each="epoch")
        learner = toy_learner(one, other, watch, optimizer=momentum_sgd, nbatches=2)
        learner.fit(1)
        assert (watch["lr"], watch["momentum"]) == ([1, 2], [0.5, 0.5])
        assert record(learner, "Momentum") == ([0, 1], [0.5, 0.5])

    def test_two_schedulers_of_one_hyperparameter_are_refused(self):
        with pytest.raises(CallbackConflictError, match="both set the hyperparameter LearningRate, and only one"):
            toy_learner(Scheduler({LearningRate: clock}), Scheduler({LearningRate: 0.1}))

    def test_also_where_one_of_them_is_throttled(self):
        often = throttle(Scheduler({LearningRate: clock}), StepBegin, freq=2)
        with pytest.raises(CallbackConflictError, match="both set the hyperparameter LearningRate"):
            toy_learner(often, Scheduler({LearningRate: 0.1}))

    def test_two_schedulers_of_different_groups_go_together(self):
        one, other = Scheduler({LearningRate(group=0): clock}), Scheduler({LearningRate(group=1): 0.5})
        optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}])
        learner = toy_learner(one, other, optimizer=optimizer, nbatches=2)
        learner.fit(0)
        assert sorted(learner.cbstate.hyperparams) == ["LearningRate[0]", "LearningRate[1]"]

    def test_a_hyperparameter_that_is_listed_twice_is_refused(self):
        with pytest.raises(
            HyperParameterError, match=r"LearningRate and LearningRate\[0\] set the same thing\.\nFix: leave one"
        ):
            Scheduler({LearningRate: 0.1, LearningRate(group=0): 0.2})

    def test_a_custom_callback_that_sets_hyperparameters_is_refused_or_compatible_like_a_scheduler(self):
        class Plateau(Callback):
            state_access = {"optimizer": Write}
            hyperparameters = (LearningRate(),)

            def on_step_end(self, learner, phase: TrainingPhase): ...

        toy_learner(Scheduler({Momentum: 0.5}), Plateau(), optimizer=momentum_sgd).fit(1)
        with pytest.raises(CallbackConflictError, match="both set the hyperparameter LearningRate"):
            toy_learner(Scheduler({LearningRate: 0.5}), Plateau())

    def test_another_writer_of_the_optimizer_is_a_conflict(self):
        class Writer(Callback):
            state_access = {"optimizer": Write}

            def on_step_begin(self, learner): ...

        with pytest.raises(CallbackConflictError, match="Scheduler and Writer both write `optimizer`"):
            toy_learner(Scheduler({LearningRate: 0.5}), Writer())


def test_a_value_for_each_group_is_set_and_the_last_one_recorded():
    layers = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [layer]} for layer in layers], lr=0.1)
    learner = toy_learner(Scheduler({LearningRate: lambda t: (t, 10.0 * t)}), optimizer=optimizer, nbatches=2)
    learner.fit(1)
    assert [group["lr"] for group in optimizer.param_groups] == [2, 20]
    assert record(learner) == ([0, 1], [10, 20])


def test_a_device_is_changed_first():
    class ToGPU(Callback):
        state_access = {"model": Write, "optimizer": Write}

        def on_step_begin(self, learner): ...

    device, scheduler = ToGPU(), Scheduler({LearningRate: 0.1})
    device.name = "to_gpu"
    learner = toy_learner(scheduler, device)
    assert learner.ordering.order(StepBegin, TrainingPhase) == (device, scheduler)


class TestPastTheEnd:
    def test_a_schedule_as_long_as_the_training_is_long_enough(self):
        learner = toy_learner(Scheduler({LearningRate: OneCycle(6, 0.1)}), nbatches=3)
        assert learner.fit(2).steps == 6

    def test_a_fit_with_more_steps_than_are_left_is_refused_when_it_begins(self):
        learner = toy_learner(Scheduler({LearningRate: OneCycle(5, 0.1)}), nbatches=3)
        message = (
            r"Scheduler: LearningRate: OneCycle\(nsteps=5, .*\) has 5 of 5 updates left, and this fit makes 6\.\n"
            r"Fix: make it longer, or say what follows, here 0\.001:\n    Sequence\(\(schedule, 5\), \(0\.001, 1\)\)\n"
            r"or start it again:\n    scheduler\.reset\(\)"
        )
        with pytest.raises(ScheduleRangeError, match=message):
            learner.fit(2)
        assert (learner.progress.steps, learner.fit(1).steps) == (0, 3)
        with pytest.raises(ScheduleRangeError, match="has 2 of 5 updates left, and this fit makes 3"):
            learner.fit(1)
        assert learner.fit(0).steps == 0

    def test_a_second_fit_after_its_end_is_refused_and_reset_starts_it_again(self):
        scheduler = Scheduler({LearningRate: OneCycle(3, 0.1)})
        learner = toy_learner(scheduler, nbatches=3)
        learner.fit(1)
        with pytest.raises(ScheduleRangeError, match="has 0 of 3 updates left, and this fit makes 3"):
            learner.fit(1)
        assert learner.fit(1, phases=[ValidationPhase()]).steps == 0
        scheduler.reset()
        assert learner.fit(1).steps == 3

    def test_epochs_are_counted_likewise(self):
        learner = toy_learner(Scheduler({LearningRate: OneCycle(2, 0.1)}, each="epoch"), nbatches=3)
        with pytest.raises(ScheduleRangeError, match="has 2 of 2 epochs left, and this fit makes 3"):
            learner.fit(3)
        assert learner.fit(2).steps == 6

    @pytest.mark.parametrize("each", ["update", "step"])
    def test_where_the_number_of_steps_is_unknown_it_ends_at_the_first_without_a_value(self, each):
        class Stream:
            def __iter__(self):
                return iter(toy_learner(nbatches=3).data.training)

        learner = toy_learner(Scheduler({LearningRate: OneCycle(5, 0.1)}, each=each), data=(Stream(),))
        with pytest.raises(
            ScheduleRangeError, match=r"has 5 steps and was called with step 6\.\nFix: make it longer"
        ) as caught:
            learner.fit(2)
        assert learner.progress.steps == 5
        assert f"Scheduler was to set LearningRate for training {each} 6." in caught.value.__notes__
        with pytest.raises(ScheduleRangeError, match=rf"has 0 of 5 {each}s left, and this fit makes more"):
            learner.fit(1)

    @pytest.mark.parametrize("hook", ["epoch", "step", "update", "accumulate"])
    def test_a_callback_that_decides_about_steps_makes_their_number_unknown(self, hook):
        class Decides(Callback):
            state_access = {"optimizer": Read, "data": Read, "callbacks": Read}

            def on_fit_begin(self, learner):
                self.ticks = [ticks(learner, each) for each in ("update", "step", "epoch")]

        setattr(Decides, hook, lambda self: None)
        callback = Decides()
        toy_learner(callback, nbatches=3).fit(2)
        assert callback.ticks == [None, 6 if hook in ("update", "accumulate") else None, 2]

    @pytest.mark.parametrize("has_length", [True, False])
    def test_a_fit_by_steps_has_as_many_and_as_many_epochs_as_its_data_make_of_them(self, has_length):
        class Look(Callback):
            state_access = {"data": Read, "callbacks": Read}

            def on_fit_begin(self, learner):
                self.ticks = [ticks(learner, each) for each in ("update", "step", "epoch")]

        class Endless:
            def __iter__(self):
                return itertools.cycle(toy_learner().data.training)

        look = Look()
        learner = toy_learner(look, nbatches=3, **({} if has_length else {"data": (Endless(),)}))
        learner.fit(steps=7)
        assert look.ticks == [7, 7, 3 if has_length else None]

    def test_a_phase_with_an_epoch_of_its_own_makes_it_unknown(self):
        class Half(TrainingPhase):
            def epoch(self, learner, data):
                super().epoch(learner, data[: len(data) // 2])

        learner = toy_learner(Scheduler({LearningRate: OneCycle(5, 0.1)}), nbatches=4)
        assert learner.fit(2, phases=[Half()]).steps == 4

    def test_training_goes_on_with_a_schedule_that_is_long_enough(self):
        learner = toy_learner(Scheduler({LearningRate: OneCycle(5, 0.1)}), nbatches=3)
        with pytest.raises(ScheduleRangeError):
            learner.fit(2)
        learner.replace_callback(Scheduler({LearningRate: 0.001}))
        assert learner.fit(2).steps == 6


class Pairs(Callback):
    """Two batches for each update."""

    def accumulate(self, learner, phase: TrainingPhase):
        return learner.progress.accumulated == 0


class Skip(Callback):
    """Skips an update, as a gradient scaler does."""

    def __init__(self, at):
        self.at, self.count = at, 0

    def update(self, learner, phase: TrainingPhase):
        self.count += 1
        return False if self.count == self.at else None


class DropoutRate(HyperParameter):
    state_access = {"model": Write}

    def get(self, learner):
        return learner.model.rate

    def set(self, learner, value):
        learner.model.rate = value


class TestByUpdate:
    @pytest.mark.parametrize(
        ("each", "values"),
        [("update", [1, 1, 2, 2, 3]), ("step", [1, 2, 3, 4, 5]), ("epoch", [1, 1, 1, 1, 1])],
    )
    def test_a_step_that_only_adds_to_the_gradients_is_no_update(self, each, values):
        learner = toy_learner(Scheduler({LearningRate: clock}, each=each), Pairs(), nbatches=5)
        learner.fit(1)
        assert record(learner) == ([0, 1, 2, 3, 4], values)

    def test_each_update_is_made_with_its_value(self):
        rates = []
        note = CustomCallback(
            lambda learner: rates.append(learner.optimizer.param_groups[0]["lr"]),
            UpdateBegin,
            state_access={"optimizer": Read},
        )
        toy_learner(Scheduler({LearningRate: clock}), Pairs(), note, nbatches=5).fit(2)
        assert rates == [1, 2, 3, 4, 5, 6]  # one at the end of each epoch completes it

    def test_the_weights_are_those_of_the_loop_by_hand(self):
        learner = toy_learner(Scheduler({LearningRate: lambda t: 0.001 * t}), Pairs(), nbatches=5)
        weight = torch.zeros(1, requires_grad=True)
        batches = list(learner.data.training)
        learner.fit(1)
        for t, pair in enumerate((batches[:2], batches[2:4], batches[4:]), start=1):
            losses = [(xs * weight - ys).abs().mean() for xs, ys in pair]
            (gradient,) = torch.autograd.grad(sum(losses), weight)
            weight.data -= 0.001 * t * gradient
        assert learner.model.weight.item() == weight.item()

    @pytest.mark.parametrize("stops", [lambda: Skip(at=2), lambda: Cancel(CancelUpdateException(), at=2)])
    def test_an_update_that_was_skipped_or_cancelled_gets_its_value_again(self, stops):
        watch = Watch()
        scheduler = Scheduler({LearningRate: clock})
        learner = toy_learner(scheduler, watch, stops(), nbatches=4)
        learner.fit(1)
        assert watch["lr"] == [1, 2, 2, 3]
        assert (learner.progress.updates, scheduler.t) == (3, 4)

    def test_what_the_forward_pass_uses_is_set_before_it(self):
        rates = []

        def note(learner):
            rates.append(learner.model.rate)

        forward = CustomCallback(note, LossBegin, TrainingPhase, {"model": Read})
        learner = toy_learner(Scheduler({DropoutRate: clock}), Pairs(), forward, nbatches=5)
        learner.model.rate = 0.0
        learner.fit(1)
        assert rates == [1, 1, 2, 2, 3]

    def test_in_a_phase_of_several_models_it_counts_the_updates_of_its_own(self):
        class Adversarial(AbstractTrainingPhase):
            def step(self, learner, batch):
                with run_step(learner, self, xs=batch[0]) as (_, state):
                    for name in ("critic", "critic", "generator"):
                        state.loss = learner.model[name](state.xs).mean()
                        run_update(learner, self, models=name)

        class Rates(Callback):
            state_access = {"optimizer": Read}

            def __init__(self):
                self.seen = []

            def on_update_begin(self, learner):
                (name,) = update_under_way(learner).models
                self.seen.append((name[0], learner.optimizer[name].param_groups[0]["lr"]))

        critic = Scheduler({LearningRate("critic"): clock})
        both, rates = Scheduler({LearningRate("generator"): clock, Momentum("critic"): lambda t: 0.1 * t}), Rates()
        learner = Learner(
            {"generator": torch.nn.Linear(1, 1), "critic": torch.nn.Linear(1, 1)},
            torch.nn.functional.mse_loss,
            data=([(torch.ones(2, 1), torch.ones(2, 1))] * 2,),
            optimizer={"generator": momentum_sgd, "critic": momentum_sgd},
            callbacks=[critic, both, rates],
            use_default_callbacks=False,
        )
        learner.fit(1, phases=[Adversarial()])
        assert (critic.t, both.t) == (5, 3)
        assert both.state_dict()["t"] == {"LearningRate[generator]": 3, "Momentum[critic]": 5}
        assert rates.seen == [("c", 1), ("c", 2), ("g", 1), ("c", 3), ("c", 4), ("g", 2)]

    def test_a_phase_that_steps_its_optimizer_by_itself_is_refused_and_counted_by_step(self):
        class ByHand(TrainingPhase):
            def step(self, learner, batch):
                with run_step(learner, self, xs=batch[0], ys=batch[1]) as (_, state):
                    state.loss = learner.lossfn(learner.model(state.xs), state.ys)
                    state.loss.backward()
                    learner.optimizer.step()

        learner = toy_learner(Scheduler({LearningRate: clock}), nbatches=3)
        with pytest.raises(
            CallbackError,
            match=r"Scheduler is a guard and handles `on_update_begin`(.|\n)*"
            r'Fix: count its steps:\n    Scheduler\(\.\.\., each="step"\)\n',
        ):
            learner.fit(1, phases=[ByHand()])
        learner = toy_learner(Scheduler({LearningRate: clock}, each="step"), nbatches=3)
        learner.fit(1, phases=[ByHand()])
        assert record(learner) == ([0, 1, 2], [1, 2, 3])

    def test_a_callback_that_accumulates_or_overrides_the_update_is_refused_nothing_when_the_fit_begins(self):
        for callback in (Pairs(), Skip(at=1)):
            learner = toy_learner(Scheduler({LearningRate: OneCycle(3, 0.1)}), callback, nbatches=4)
            assert learner.fit(1).steps == 4


def test_groups_of_different_rates_keep_their_ratio_also_in_a_resumed_run():
    def make():
        model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
        groups = [{"params": layer.parameters(), "lr": rate} for layer, rate in zip(model, (0.1, 0.03), strict=True)]
        return Learner(
            model,
            torch.nn.functional.mse_loss,
            data=([(torch.ones(2, 1), torch.ones(2, 1))] * 2,),
            optimizer=torch.optim.SGD(groups),
            callbacks=[Scheduler({LearningRate: lambda t: 0.01 * (t % 3)})],
            use_default_callbacks=False,
        )

    def rates(learner):
        return [group["lr"] for group in learner.optimizer.param_groups]

    whole, first, second = make(), make(), make()
    whole.fit(4)
    first.fit(2)
    capture_run(first).put_back(second)
    second.fit(2)
    assert rates(second) == rates(whole)
    assert rates(whole) == pytest.approx([0.02, 0.006])


def test_what_the_optimizer_does_not_have_is_refused_when_the_fit_begins():
    learner = toy_learner(Scheduler({Momentum: 0.9}), optimizer=torch.optim.Adagrad)
    with pytest.raises(HyperParameterError, match="Momentum: this optimizer has no `momentum`"):
        learner.fit(1)
    learner = toy_learner(Scheduler({LearningRate(group=3): 0.9}))
    with pytest.raises(HyperParameterError, match="there is no parameter group 3"):
        learner.fit(1)
    assert learner.progress.epoch == 0


class TestState:
    def test_in_each_fold_of_a_cross_validation_it_starts_again(self):
        scheduler = Scheduler({LearningRate: OneCycle(4, 0.1)})
        for _ in range(3):
            learner = toy_learner(scheduler, nbatches=2)
            learner.fit(2)
            assert record(learner)[1] == [OneCycle(4, 0.1)(t) for t in (1, 2, 3, 4)]

    def test_a_scheduler_goes_on_from_a_checkpoint(self):
        first = Scheduler({LearningRate: clock})
        toy_learner(first, nbatches=3).fit(1)
        second = Scheduler({LearningRate: clock})
        second.load_state_dict(first.state_dict())
        learner = toy_learner(second, nbatches=2)
        learner.fit(1)
        assert record(learner) == ([0, 1], [4, 5])

    def test_the_state_is_plain_numbers(self):
        scheduler = Scheduler({LearningRate: clock})
        toy_learner(scheduler, nbatches=3).fit(1)
        assert scheduler.state_dict() == {"t": {"LearningRate": 4}, "set": {"LearningRate": 3}}

    def test_a_record_that_was_restored_is_kept(self):
        learner = toy_learner(Scheduler({LearningRate: clock}), nbatches=1)
        learner.fit(1)
        kept = learner.cbstate.hyperparams["LearningRate"]
        learner.set_callbacks([Scheduler({LearningRate: clock})])
        assert learner.cbstate.hyperparams["LearningRate"] is kept


@pytest.mark.parametrize(
    ("schedules", "error", "message"),
    [
        (
            {},
            ScheduleError,
            r"needs a mapping of hyperparameters to schedules, got \{\}\.\nFix: .*\n    Scheduler\(\{LearningRate",
        ),
        (Exp(0.1, 0.9), ScheduleError, r"needs a mapping of .*, got Exp\(start=0.1, decay=0.9\)"),
        ({"lr": 0.1}, HyperParameterError, "'lr' is not a hyperparameter"),
        ({LearningRate: "fast"}, ScheduleError, "Scheduler: LearningRate: 'fast' is not a schedule"),
        (
            {LearningRate: Exp},
            ScheduleError,
            r"Scheduler: LearningRate: Exp is a class\.\nFix: make an instance:\n    Exp\(start",
        ),
    ],
)
def test_invalid_schedules_are_refused(schedules, error, message):
    with pytest.raises(error, match=message):
        Scheduler(schedules)


def test_a_value_that_the_hyperparameter_cannot_take_stops_the_training():
    learner = toy_learner(Scheduler({LearningRate: lambda t: 0.1 if t < 3 else float("nan")}))
    with pytest.raises(
        HyperParameterError, match=r"LearningRate has an invalid value: nan\.\nFix: set it to a number"
    ) as caught:
        learner.fit(1)
    assert "Scheduler was to set LearningRate for training update 3." in caught.value.__notes__
