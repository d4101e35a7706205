import math
import random
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from treadle import (
    AbstractTrainingPhase,
    BackwardBegin,
    BackwardEnd,
    Callback,
    CancelFittingException,
    CancelStepException,
    CustomCallback,
    DataError,
    Learner,
    Read,
    RunFirst,
    StepEnd,
    TrainingPhase,
    Write,
    hookimpl,
    run_step,
    throttle,
    toy_learner,
)
from treadle.errors import NotSaveableError
from treadle.operations import Update
from treadle_schedule import Exp, LearningRate, LRFinder, LRFinderError, Momentum, ScheduleError, Scheduler
from treadle_schedule.lr_finder import participants


class Noisy(Dataset):
    """Data with noise from Python's, NumPy's and torch's generators, global ones and its own."""

    def __init__(self):
        self.numpy = np.random.default_rng(1)
        self.python = random.Random(2)

    def __len__(self):
        return 24

    def __getitem__(self, i):
        noise = np.random.rand() + self.numpy.random() + random.random() + self.python.random()
        xs = torch.full((3,), float(i) / 24) + 0.01 * noise + 0.01 * torch.rand(3)
        return xs, xs.sum(0, keepdim=True)


class Counting(nn.Module):
    """A layer with state of every kind: a buffer that is replaced, one that is not saved, a number and a list."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("hidden", torch.zeros(3), persistent=False)
        self.count, self.seen = 0, []
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, xs):
        self.steps = self.steps + 1
        self.hidden += xs.detach().mean(0)
        self.count += 1
        self.seen.append(self.count)
        return xs + 0.001 * self.hidden * self.steps * self.count + 0.01 * torch.rand(3, generator=self.generator)


class Recording(Callback):
    """An observer, as `Recorder` is one."""

    state_access = {"step.loss": Read, "cbstate.losses": Write}

    def __init__(self):
        self.count = 0

    def on_init(self, learner):
        if "losses" not in learner.cbstate:
            learner.cbstate.losses = []

    def on_step_end(self, learner, phase: TrainingPhase):
        self.count += 1
        learner.cbstate.losses.append(learner.step.loss.item())


class Noise(Callback):
    """Changes the gradients, more with every step, by means of state that it keeps in several ways."""

    state_access = {"step.grads": Write, "cbstate.losses": Read}

    def __init__(self):
        self.steps, self.history, self.scale = 0, [], torch.ones(())
        self.random = np.random.default_rng(4)

    def on_backward_end(self, learner, phase: TrainingPhase):
        self.steps += 1
        self.scale += 0.01
        self.history.append(self.random.random())
        for gradient in learner.step.grads.values():
            gradient *= self.scale * (1 + 0.01 * sum(self.history) + 0.01 * self.steps)


def make_learner(optimizer="sgd", own_generator=True, scheduler=True):
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    model = nn.Sequential(Counting(), nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    optimizers = {
        "sgd": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9),
        "adam": lambda params: torch.optim.Adam(params, lr=torch.tensor(0.01), amsgrad=True, foreach=False),
        "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.001, momentum=0.5, centered=True),
    }
    generator = torch.Generator().manual_seed(5) if own_generator else None
    loader = DataLoader(Noisy(), batch_size=4, shuffle=True, generator=generator)
    callbacks = [Recording(), throttle(Noise(), BackwardEnd, freq=2)]
    if scheduler:
        callbacks.append(Scheduler({LearningRate: Exp(0.01, 0.99)}))
    return Learner(
        model,
        nn.functional.mse_loss,
        data=(loader, loader),
        optimizer=optimizers[optimizer],
        callbacks=callbacks,
        use_default_callbacks=False,
    )


def everything(learner):
    """All that a run leaves behind, as plain values."""
    counting = learner.model[0]
    noise = next(c.wrapped for c in learner.callbacks if c.name == "Noise")
    return {
        "model": [tensor.tolist() for tensor in (*learner.model.state_dict().values(), counting.hidden)],
        "attributes": (counting.count, counting.seen, [module.training for module in learner.model.modules()]),
        "gradients": [p.grad if p.grad is None else p.grad.tolist() for p in learner.model.parameters()],
        "state": [
            [(key, value.tolist() if isinstance(value, torch.Tensor) else value) for key, value in state.items()]
            for state in learner.optimizer.state.values()
        ],
        "groups": [
            {key: float(value) for key, value in group.items() if key in ("lr", "momentum")}
            for group in learner.optimizer.param_groups
        ],
        "losses": learner.cbstate.losses,
        "recorded": learner.get_callback(Recording).count,
        "noise": (noise.steps, noise.history, noise.scale.item(), noise.random.bit_generator.state),
        "schedule": [c.state_dict() for c in learner.callbacks if isinstance(c, Scheduler)],
        "progress": (learner.progress.steps, learner.progress.epochs, learner.progress.epoch),
        "random": (torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())),
        "step": sorted(learner.step),
    }


class Stop(Exception):
    pass


class TestLeavesNoTrace:
    @pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
    @pytest.mark.parametrize("own_generator", [True, False], ids=["own generator", "global generator"])
    def test_fit_after_find_is_bit_equal_to_fit(self, optimizer, own_generator):
        learner = make_learner(optimizer, own_generator)
        learner.fit(3)
        expected = everything(learner)

        learner = make_learner(optimizer, own_generator)
        LRFinder(num_it=20).find(learner)
        learner.fit(1)
        LRFinder(num_it=20).find(learner)
        LRFinder(num_it=7, stop_div=False).find(learner)
        learner.fit(2)
        assert everything(learner) == expected

    def test_right_after_it_everything_is_as_before(self):
        learner = make_learner()
        learner.fit(1)
        before = everything(learner)
        result = LRFinder(num_it=20, stop_div=False).find(learner)
        assert len(result.lrs) == 20
        assert everything(learner) == before

    def test_also_before_the_first_fit(self):
        learner = make_learner()
        before = everything(learner)
        LRFinder(num_it=20).find(learner)
        assert everything(learner) == before
        assert learner.optimizer.state == {}

    def test_the_same_tensors_are_there_as_before(self):
        learner = make_learner("adam")
        learner.fit(1)
        held = [*learner.model.parameters(), *learner.model.buffers(), learner.optimizer.param_groups[0]["lr"]]
        held += [value for state in learner.optimizer.state.values() for value in state.values()]
        memory = [tensor.data_ptr() for tensor in held]
        LRFinder(num_it=20).find(learner)
        after = [*learner.model.parameters(), *learner.model.buffers(), learner.optimizer.param_groups[0]["lr"]]
        after += [value for state in learner.optimizer.state.values() for value in state.values()]
        assert all(one is other for one, other in zip(held, after, strict=True))
        assert [tensor.data_ptr() for tensor in after] == memory

    @pytest.mark.parametrize("place", ["loss", "callback", "data"])
    def test_also_when_it_fails_in_the_middle(self, place):
        learner = make_learner()
        learner.fit(1)
        before = everything(learner)
        assert_fails_in_the_middle(learner, place)
        assert everything(learner) == before
        learner.fit(2)

        expected = make_learner()
        expected.fit(3)
        assert everything(learner) == everything(expected)

    def test_a_loss_with_parameters_and_state_is_put_back_too(self):
        class Weighted(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight, self.calls = nn.Parameter(torch.ones(())), 0

            def forward(self, yhats, ys):
                self.calls += 1
                return (self.weight * (yhats - ys)).abs().mean()

        learner = toy_learner()
        learner.lossfn = lossfn = Weighted()
        learner.optimizer.add_param_group({"params": [lossfn.weight]})
        LRFinder(start=0.1, end=1, num_it=5).find(learner)
        assert (lossfn.weight.item(), lossfn.calls, lossfn.weight.grad) == (1, 0, None)

    def test_a_frozen_layer_stays_frozen(self):
        learner = make_learner()
        learner.model[2].eval()
        learner.model[1].requires_grad_(False)
        LRFinder(num_it=5).find(learner)
        assert [module.training for module in learner.model.children()] == [True, True, False, True, True]
        assert [p.requires_grad for p in learner.model.parameters()] == [False, False, True, True, True, True]


def assert_fails_in_the_middle(learner, place):
    lossfn, calls = learner.lossfn, []

    def fail_at_5(*_):
        calls.append(1)
        if len(calls) == 5:
            raise Stop

    class Failing(Callback):
        state_access = {"model": Write}

        def on_step_begin(self, phase: TrainingPhase):
            fail_at_5()

    if place == "loss":
        learner.lossfn = lambda yhats, ys: fail_at_5() or lossfn(yhats, ys)
        with pytest.raises(Stop):
            LRFinder().find(learner)
        learner.lossfn = lossfn
    elif place == "callback":
        with pytest.raises(Stop):
            LRFinder().find(learner, callbacks=[*learner.callbacks[:2], Failing()])
    else:
        batches = [(torch.ones(4, 3), torch.ones(4, 1))] * 5 + ["no pair"]
        with pytest.raises(DataError, match="needs batches that are pairs"):
            LRFinder().find(learner, data=batches)


class TestTheSweep:
    def test_the_learning_rate_rises_geometrically(self):
        result = LRFinder(num_it=100, stop_div=False).find(toy_learner())
        assert result.lrs[0] == 1e-7
        assert result.lrs[1] == pytest.approx(1.2022644e-7)
        assert result.lrs[50] == pytest.approx(1e-3)
        assert result.lrs[99] == pytest.approx(8.3176377)
        assert len(result.lrs) == len(result.losses) == 100
        assert result.stopped == "all steps were made"

    def test_the_losses_are_those_of_the_training(self):
        learner = toy_learner(optimizer=lambda params: torch.optim.SGD(params, lr=0.1), nbatches=4)
        result = LRFinder(start=0.1, end=0.1 + 1e-12, num_it=8).find(learner)
        recording = Recording()
        learner.add_callback(recording)
        learner.fit(2)
        assert list(result.losses) == pytest.approx(learner.cbstate.losses)

    def test_the_data_are_run_over_as_often_as_needed(self):
        result = LRFinder(num_it=40, stop_div=False).find(toy_learner(nbatches=3))
        assert len(result.lrs) == 40

    def test_the_first_group_gets_the_learning_rate_and_the_others_keep_their_ratio(self):
        rates = []

        class Watch(Callback):
            state_access = {"optimizer": Read, "model": Write}

            def on_backward_end(self, learner, phase: TrainingPhase):
                rates.append([group["lr"] for group in learner.optimizer.param_groups])

        learner = make_learner(scheduler=False)
        first = learner.optimizer.param_groups[0]["lr"]
        learner.optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": first / 2})
        LRFinder(start=1, end=4, num_it=2).find(learner, callbacks=[Watch()])
        assert rates == [[1, 0.5], [2, 1]]
        assert all("lr_base" not in group for group in learner.optimizer.param_groups)

    def test_a_cancelled_step_is_made_again(self):
        class Cancel(Callback):
            state_access = {"model": Write}
            count = 0

            def on_backward_end(self, phase: TrainingPhase):
                self.count += 1
                if self.count == 3:
                    raise CancelStepException

        result = LRFinder(num_it=10, stop_div=False).find(toy_learner(Cancel()))
        assert result.lrs == LRFinder(num_it=10, stop_div=False).find(toy_learner()).lrs


class Pairs(Callback):
    """Two batches for each update."""

    def accumulate(self, learner, phase: TrainingPhase):
        return learner.progress.accumulated == 0


class Skips(Callback):
    """Skips some updates, as a gradient scaler does that looks for its scale."""

    def __init__(self, *numbers):
        self.numbers, self.count = numbers, 0

    def update(self, learner, phase: TrainingPhase):
        self.count += 1
        return False if self.count in self.numbers else None


class TestByUpdate:
    def test_the_rate_is_the_same_for_all_batches_of_an_update_whose_loss_is_their_mean(self):
        result = LRFinder(start=1, end=8, num_it=3).find(scripted([4.0, 2.0, 1.0, 2.0, 3.0], Pairs()))
        assert result.lrs == pytest.approx((1, 2, 4))  # the last one completes the epoch
        assert result.losses == (3, 1.5, 3)

    def test_a_trial_of_updates_of_one_epoch_each_ends_when_all_were_made(self):
        result = LRFinder(num_it=5, stop_div=False).find(toy_learner(Pairs(), nbatches=1))
        assert (len(result.losses), result.stopped) == (5, "all steps were made")

    def test_an_update_that_is_skipped_is_made_again(self):
        result = LRFinder(start=1, end=4, num_it=2).find(scripted([4.0, 2.0, 1.0, 2.0], Skips(1, 2)))
        assert (result.lrs, result.losses) == ((1, 2), (1, 2))
        result = LRFinder(start=1, end=2, num_it=1).find(scripted([4.0, 2.0, 1.0, 2.0], Pairs(), Skips(1)))
        assert (result.lrs, result.losses) == ((1,), (1.5,))

    def test_one_that_is_skipped_since_its_loss_is_not_finite_ends_the_trial(self):
        result = LRFinder().find(scripted([1.0, math.nan, 1.0], Skips(2, 3, 4)))
        assert (len(result.losses), result.stopped) == (2, "the loss is NaN")

    def test_the_batches_of_an_update_that_a_cancelled_step_dropped_do_not_count(self):
        class Cancel(Callback):
            state_access = {"model": Write}
            count = 0

            def on_backward_end(self, phase: TrainingPhase):
                self.count += 1
                if self.count == 2:
                    raise CancelStepException

        result = LRFinder(start=1, end=2, num_it=1).find(scripted([8.0, 8.0, 1.0, 2.0], Pairs(), Cancel()))
        assert result.losses == (1.5,)

    def test_an_update_under_way_is_neither_used_nor_changed(self):
        found = []

        def find(learner):
            if learner.progress.accumulated:
                found.append(LRFinder(num_it=3).find(toys[0]).losses)

        def make(*callbacks):
            return toy_learner(Pairs(), *callbacks, nbatches=4)

        toys = [make(CustomCallback(find, StepEnd, TrainingPhase))]
        plain = make()
        toys[0].fit(1)
        plain.fit(1)
        assert len(found) == 2
        assert torch.equal(toys[0].model.weight, plain.model.weight)


def scripted(losses, *callbacks):
    """A learner whose losses are these, whatever it does."""
    learner = toy_learner(*callbacks, nbatches=len(losses))
    script = iter(losses)
    learner.lossfn = lambda yhats, ys: 0 * yhats.mean() + next(script)
    return learner


class TestWhenItStops:
    def test_the_smoothed_loss_has_no_bias_towards_its_start(self):
        result = LRFinder(num_it=3).find(scripted([4.0, 2.0, 1.0]))
        assert result.losses == (4, 2, 1)
        assert result.smoothed == pytest.approx((4, 2.98989899, 2.31315467), abs=1e-6)

    def test_it_stops_where_the_smoothed_loss_is_over_four_times_its_lowest(self):
        result = LRFinder().find(scripted([1.0, 1.0, 7.0, 14.0, 1.0]))
        assert (len(result.losses), result.stopped) == (4, "the loss diverged")
        assert result.smoothed[2] < 4 < result.smoothed[3]

    def test_it_stops_where_the_loss_is_nan(self):
        result = LRFinder().find(scripted([1.0, math.nan, 1.0]))
        assert (len(result.losses), result.stopped) == (2, "the loss is NaN")

    def test_it_stops_where_the_loss_is_infinite(self):
        result = LRFinder().find(scripted([1.0, math.inf, 1.0]))
        assert (len(result.losses), result.stopped) == (2, "the loss diverged")

    def test_a_negative_loss_does_not_stop_it_at_once(self):
        result = LRFinder(num_it=4).find(scripted([-1.0, -2.0, -3.0, -2.0]))
        assert (len(result.losses), result.stopped) == (4, "all steps were made")

    def test_without_stop_div_it_makes_all_steps(self):
        result = LRFinder(num_it=4, stop_div=False).find(scripted([1.0, math.nan, 100.0, 1.0]))
        assert (len(result.losses), result.stopped) == (4, "all steps were made")


class TestWhoTakesPart:
    def test_observers_and_schedulers_do_not(self):
        seen = []

        class Observer(Callback):
            state_access = {"step": Read, "cbstate.seen": Write}

            def on_step_end(self, learner):
                seen.append(1)

        learner = toy_learner(Observer(), Scheduler({LearningRate: 0.5}))
        assert len(LRFinder(num_it=5).find(learner).lrs) == 5
        assert seen == []

    def test_the_trial_does_not_use_callbacks_that_stop_or_restore_weights(self):
        class Stopper(Callback):
            state_access = {"model": Write, "step.loss": Read}

            def on_step_end(self, learner, phase: TrainingPhase):
                raise CancelFittingException("enough")

            @hookimpl(wrapper=True)
            def epoch(self, learner):
                yield
                raise CancelFittingException("enough")

            def on_fit_end(self, learner):
                learner.model.weight.data.zero_()

        assert len(LRFinder(num_it=5, stop_div=False).find(toy_learner(Stopper())).lrs) == 5

    def test_callbacks_that_change_steps_are_used(self):
        class Halve(Callback):
            state_access = {"step.grads": Write}

            def on_backward_end(self, learner, phase: TrainingPhase):
                learner.step.grads["weight"].mul_(0.5)

        class Frozen(Callback):
            """Overrides the update, and writes nothing that it would have to declare."""

            def update(self, learner):
                return True

        finder = LRFinder(start=0.0001, end=0.001, num_it=8)
        plain, halved = finder.find(toy_learner()), finder.find(toy_learner(Halve()))
        assert halved.losses[-1] > plain.losses[-1]
        frozen = finder.find(toy_learner(Frozen(), nbatches=1))
        assert set(frozen.losses) == {frozen.losses[0]}

    def test_the_trial_uses_callbacks_that_provide_what_those_read(self):
        recording, noise = Recording(), Noise()
        learner = toy_learner(recording, noise)
        LRFinder(num_it=5).find(learner)
        assert (recording.count, noise.steps, learner.cbstate.losses) == (0, 0, [])

    def test_one_can_choose(self):
        calls = []

        class Observer(Callback):
            def on_step_begin(self):
                calls.append(1)

        LRFinder(num_it=5, stop_div=False).find(toy_learner(), callbacks=[Observer()])
        assert len(calls) == 5

    def test_another_writer_of_the_learning_rate_is_overruled(self):
        rates = []

        class Meddler(Callback):
            state_access = {"optimizer": Write}

            def on_step_begin(self, learner):
                learner.optimizer.param_groups[0]["lr"] = 100.0

            def on_backward_end(self, learner):
                rates.append(learner.optimizer.param_groups[0]["lr"])

        LRFinder(start=1, end=4, num_it=2).find(toy_learner(Meddler()))
        assert rates == [1, 2]

    def test_a_scheduler_from_which_one_of_them_reads_does_not_interfere(self):
        rates = []

        class Reader(Callback):
            state_access = {"cbstate.hyperparams": Read, "optimizer": Read, "step.grads": Write}

            def on_backward_end(self, learner, phase: TrainingPhase):
                rates.append(learner.optimizer.param_groups[0]["lr"])

        scheduler = Scheduler({LearningRate: 100.0})
        learner = toy_learner(Reader(), scheduler)
        LRFinder(start=1, end=4, num_it=2).find(learner)
        assert rates == [1, 2]
        assert (scheduler.t, len(learner.cbstate.hyperparams["LearningRate"])) == (1, 0)

    def test_the_result_says_who_took_part_and_why_the_others_did_not(self, log):
        result = LRFinder(num_it=3).find(toy_learner(Recording(), Noise(), Watch(), Scheduler({Momentum: 0.5})))
        assert sorted(result.callbacks) == ["Noise", "Recording"]
        assert result.left_out == {"Watch": "it changes nothing in a step", "Scheduler": "it sets Momentum"}
        assert log == []
        result = LRFinder(num_it=3).find(toy_learner(Noise(), Recording()), callbacks=[])
        assert (result.callbacks, set(result.left_out.values())) == ((), {"it is not in the list that was passed"})
        assert len({result, result}) == 1

    @pytest.mark.parametrize("resolve", [{("Clip", "Noise"): "first"}, lambda first, second: RunFirst(first)])
    def test_conflicts_are_resolved_as_the_learner_resolves_them(self, resolve):
        learner = toy_learner(Recording(), Noise(), Clip(), Watch(), resolve=resolve)
        assert sorted(LRFinder(num_it=3).find(learner).callbacks) == ["Clip", "Noise", "Recording"]

    def test_one_that_wraps_epochs_and_writes_the_optimizer_is_left_out_with_a_warning_and_can_be_brought_in(self, log):
        inside = []

        class Larger(Callback):
            """Multiplies the gradients' effect while an epoch runs."""

            state_access = {"optimizer": Write}

            @hookimpl(wrapper=True)
            def epoch(self, learner, phase: TrainingPhase):
                inside.append(1)
                return (yield)

        reason = "it writes optimizer, and handles no more than epoch, outside of what a step computes"
        learner = toy_learner(Larger())
        assert LRFinder(num_it=3).find(learner).left_out == {"Larger": reason}
        assert log == [
            f"LRFinder left out Larger: {reason}.\n"
            "Fix: if the trial needs it, name all callbacks that take part:\n"
            "    LRFinder().find(learner, callbacks=[...])"
        ]
        assert inside == []
        assert LRFinder(num_it=3).find(learner, callbacks=learner.callbacks).callbacks == ("Larger",)
        assert (inside, len(log)) == ([1], 1)

    def test_those_that_took_part_still_belong_to_the_learner(self):
        noise = Noise()
        learner = toy_learner(Recording(), noise)
        LRFinder(num_it=3).find(learner)
        assert (learner.fit(1).steps, noise.steps) == (16, 16)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            (
                {"start": 0},
                ScheduleError,
                r"LRFinder: `start` has an invalid value: 0\.\nFix: pass a number greater than 0\.",
            ),
            (
                {"num_it": 2.5},
                ScheduleError,
                r"LRFinder: `num_it` has an invalid value: 2.5\.\nFix: pass a whole number of at least 1\.",
            ),
            ({"start": 1, "end": 0.1}, LRFinderError, "`end` must be greater than `start`, not 0.1 after 1"),
        ],
    )
    def test_a_sweep_that_cannot_be(self, options, error, message):
        with pytest.raises(error, match=message):
            LRFinder(**options)

    def test_data_that_can_be_read_once(self):
        learner = toy_learner()
        data = iter(learner.data.training)
        with pytest.raises(
            LRFinderError, match=r"list_iterator, which can be read once, .* use it up\.\nFix: pass other data"
        ):
            LRFinder().find(learner, data=data)
        assert len(list(data)) == 16

    def test_no_data(self):
        with pytest.raises(DataError, match="the learner has no such data"):
            LRFinder().find(toy_learner(data=()))

    def test_a_phase_whose_steps_have_no_loss(self):
        with pytest.raises(
            LRFinderError, match=r"the steps of Doubled\(name='score'\) have none\.\nFix: .*state.loss = "
        ):
            LRFinder().find(toy_learner(), [(torch.ones(2, 1), torch.ones(2, 1))], phase=Doubled("score"))

    def test_a_lazy_parameter(self):
        data = [(torch.ones(2, 3), torch.ones(2, 1))]
        learner = Learner(nn.LazyLinear(1), nn.functional.mse_loss, data=(data,), use_default_callbacks=False)
        with pytest.raises(NotSaveableError, match=r"lazy parameters, .*\nFix: show the model a batch first"):
            LRFinder().find(learner)
        learner.model(data[0][0])
        assert len(LRFinder(num_it=2).find(learner).lrs) == 2


def test_the_data_can_be_others():
    learner = toy_learner(data=())
    data = TensorDataset(torch.ones(4, 1), torch.ones(4, 1))
    result = LRFinder(start=0.1, end=1, num_it=3).find(learner, DataLoader(data, batch_size=2))
    assert result.losses[0] == 1


class Doubled(AbstractTrainingPhase):
    """Trains with twice the loss, under a name."""

    data_name = "doubled"

    def __init__(self, name):
        self.name = name

    def step(self, learner, batch):
        xs, ys = batch
        with run_step(learner, self, xs=xs, ys=ys) as (handle, state):
            state[self.name] = 2 * learner.lossfn(learner.model(xs), ys)
            handle(BackwardBegin)
            state[self.name].backward()
            handle(BackwardEnd)
            handle(Update)


def test_the_phase_can_be_a_custom_one():
    learner = toy_learner()
    learner.data.doubled = learner.data.training
    usual = LRFinder(start=1e-6, end=1e-5, num_it=3).find(learner)
    doubled = LRFinder(start=1e-6, end=1e-5, num_it=3).find(learner, phase=Doubled("loss"))
    assert doubled.losses == pytest.approx([2 * loss for loss in usual.losses], rel=1e-3)


class Clip(Callback):
    state_access = {"step.grads": Write}

    def on_backward_end(self): ...


class Autocast(Callback):
    """Wraps whole steps, changes how they compute, and looks at nothing."""

    @hookimpl(wrapper=True)
    def step(self):
        with torch.autocast("cpu"):
            return (yield)


class Save(Callback):
    """Wraps whole steps to save what they made, as a checkpointer does."""

    state_access = {"model": Read, "callbacks": Read}

    @hookimpl(wrapper=True)
    def step(self):
        return (yield)


class Watch(Callback):
    state_access = {"step.loss": Read, "cbstate.seen": Write}

    def on_step_end(self): ...


class ScaleBySeen(Callback):
    state_access = {"cbstate.seen": Read}

    def loss(self): ...


def test_the_trial_uses_callbacks_that_change_a_step_and_not_those_that_watch_or_save():
    clip, autocast = Clip(), Autocast()
    assert participants([Save(), clip, Watch(), Scheduler({LearningRate: 0.1}), autocast]) == [clip, autocast]


def test_with_it_come_those_from_which_it_reads():
    scale, watch = ScaleBySeen(), Watch()
    assert participants([Save(), watch, scale]) == [scale, watch]


class CountingLoss:
    """Depends on how often it was called, as a schedule of weights does."""

    def __init__(self):
        self.calls = 0
        self.recent = deque(maxlen=3)

    def __call__(self, yhats, ys):
        self.calls += 1
        self.recent.append(self.calls)
        return (yhats - ys).abs().mean() * (1 + sum(self.recent) / 100)


class QueuedLoader:
    """Begins each pass where the last one ended."""

    def __init__(self):
        self.queue = deque((torch.full((4, 1), float(i)), torch.full((4, 1), 3.0 * i)) for i in range(5))

    def __len__(self):
        return 3

    def __iter__(self):
        for _ in range(3):
            self.queue.rotate(1)
            yield self.queue[0]


@pytest.mark.filterwarnings("ignore:.*jit")
@pytest.mark.parametrize("scripted", [False, True])
def test_a_loss_that_counts_a_loader_with_a_queue_and_a_scripted_model_are_as_they_were(scripted):
    def trained(find):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))
        model = torch.jit.script(model) if scripted else model
        learner = toy_learner(data=(QueuedLoader(),))
        learner.model, learner.lossfn = model, CountingLoss()
        learner.optimizer = torch.optim.Adam(model.parameters())
        if find:
            LRFinder(num_it=10).find(learner)
        learner.fit(2)
        weights = {name: value.tolist() for name, value in model.state_dict().items()}
        return weights, learner.lossfn.calls, [float(xs[0]) for xs, _ in learner.data.training.queue]

    assert trained(find=True) == trained(find=False)


def test_data_that_hold_an_iterator_under_way_are_refused_and_keep_their_batches():
    class Stream(QueuedLoader):
        def __init__(self):
            super().__init__()
            self.stream = iter(self.queue)

        def __iter__(self):
            yield next(self.stream)

    learner = toy_learner(data=(Stream(),))
    with pytest.raises(
        NotSaveableError, match=r"data\[0\]\.stream is a .* under way, .*\nFix: make a new one for each pass"
    ):
        LRFinder(num_it=2).find(learner)
    assert next(learner.data.training.stream)[0][0] == 0
