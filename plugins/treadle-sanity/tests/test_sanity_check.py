import random
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from treadle import (
    AbstractTrainingPhase,
    Callback,
    Learner,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    run_epoch,
    run_step,
    toy_learner,
)
from treadle.errors import ArgumentTypeError
from treadle.testing import audit
from treadle_sanity import CHECKS, Check, SanityCheck, SanityCheckException, SkipCheck


def passing(learner) -> bool:
    return True


def failing(learner) -> bool:
    return False


def check(fn, name="It holds", throw_error=True, message="Do this.") -> Check:
    return Check(fn, name, throw_error, message)


def test_a_learner_in_order_trains_and_nothing_is_logged(log):
    assert toy_learner(SanityCheck()).fit(2).epochs == 2
    assert log == []


def test_the_checks_run_once_before_the_first_training_epoch():
    seen = []
    sanity = SanityCheck([check(lambda learner: seen.append(1) or True)])
    learner = toy_learner(sanity)
    epoch(learner, ValidationPhase())
    assert seen == []
    learner.fit(2)
    learner.fit(1)
    assert seen == [1]


def test_in_a_second_learner_they_run_again():
    seen = []
    sanity = SanityCheck([check(lambda learner: seen.append(1) or True)])
    for _ in range(2):
        learner = toy_learner(sanity)
        learner.fit(1)
    learner.add_callback(Flatten())  # initialises all callbacks again
    learner.fit(1)
    assert seen == [1, 1]


def test_after_a_failure_they_run_again():
    results = [False, True]
    learner = toy_learner(SanityCheck([check(lambda learner: results.pop(0))]))
    with pytest.raises(SanityCheckException):
        learner.fit(1)
    assert learner.fit(1).epochs == 1


def test_all_failures_are_reported_in_one_exception():
    checks = [check(failing, "First"), check(passing), check(lambda learner: "3 of 8 are wrong.", "Second")]
    with pytest.raises(SanityCheckException) as caught:
        toy_learner(SanityCheck(checks, use_default=False)).fit(1)
    assert str(caught.value) == (
        "2 sanity checks failed, so no step was made:\n"
        "1. First: the check returned False.\n    Fix: Do this.\n"
        "2. Second: 3 of 8 are wrong.\n    Fix: Do this."
    )
    assert [failure.check.name for failure in caught.value.failures] == ["First", "Second"]


def test_no_step_is_made_after_a_failure():
    learner = toy_learner(SanityCheck([check(failing)]))
    with pytest.raises(SanityCheckException):
        learner.fit(1)
    assert learner.progress.steps == 0
    assert learner.model.weight.item() == 0


def test_a_check_that_only_warns_is_logged_and_training_goes_on(log):
    learner = toy_learner(SanityCheck([check(failing, "Data are plenty", throw_error=False)]))
    assert learner.fit(1).epochs == 1
    assert log == ["SanityCheck: Data are plenty: the check returned False.\n    Fix: Do this."]


def test_a_check_whose_function_raises_fails_with_the_exception_as_its_cause():
    with pytest.raises(
        SanityCheckException, match=r"its function raised ZeroDivisionError: division by zero"
    ) as caught:
        toy_learner(SanityCheck([check(lambda learner: 1 / 0)])).fit(1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_check_whose_function_returns_nothing_fails():
    with pytest.raises(SanityCheckException, match="returned None, neither True nor False"):
        toy_learner(SanityCheck([check(lambda learner: None)])).fit(1)


def test_skipped_checks_are_logged_together_with_their_reason(log):
    def skip(learner):
        raise SkipCheck("there is no label map")

    toy_learner(SanityCheck([check(skip, "A"), check(skip, "B")])).fit(1)
    assert log == ['SanityCheck skipped "A", "B": there is no label map.']


def test_two_checks_that_found_the_same_are_reported_once_by_the_latter():
    checks = [check(lambda learner: "x is 3.", "Vague"), check(lambda learner: "x is 3.", "Exact")]
    with pytest.raises(SanityCheckException, match=r"1 sanity check failed, so no step was made:\n1\. Exact"):
        toy_learner(SanityCheck(checks)).fit(1)


def test_two_checks_that_return_no_more_than_false_are_both_reported():
    checks = [Check(lambda learner: False, name, True, "Fix it.") for name in ("First", "Second")]
    with pytest.raises(SanityCheckException) as caught:
        toy_learner(SanityCheck(checks, use_default=False)).fit(1)
    assert [failure.check.name for failure in caught.value.failures] == ["First", "Second"]


def test_more_checks_come_after_the_default_ones_or_alone():
    def failures(**options):
        with pytest.raises(SanityCheckException) as caught:
            toy_learner(SanityCheck([more], **options), data=([(1, 2, 3)],)).fit(1)
        return [failure.check.name for failure in caught.value.failures]

    more = Check(lambda learner: False, "More", True, "Fix it.")
    assert failures() == ["Batches are pairs", "More"]
    assert failures(use_default=False) == ["More"]


def test_a_check_sees_only_what_sanity_check_declares():
    with pytest.raises(SanityCheckException, match=r'Fix: add to SanityCheck\.state_access:\n .*history": Read'):
        toy_learner(SanityCheck([check(lambda learner: learner.cbstate.history)])).fit(1)


def test_something_else_than_checks_is_refused():
    with pytest.raises(
        ArgumentTypeError,
        match=r"SanityCheck\(checks\)\[0\] must be an instance of Check, got 3.\nFix: .*\n    SanityCheck\(\[",
    ):
        SanityCheck([3])
    with pytest.raises(
        ArgumentTypeError,
        match=r"SanityCheck\(checks\) must be a list, got Check\(.*\nFix: .*\n    SanityCheck\(\[check\]\)",
    ):
        SanityCheck(check(passing))


def test_the_first_four_default_checks_are_the_ancestors():
    assert [(c.name, c.throw_error) for c in CHECKS[:4]] == [
        ("There are training data", True),
        ("There are validation data", False),
        ("Batches are pairs", True),
        ("lossfn(model(xs), ys) is a number", True),
    ]


def test_missing_training_data_are_an_error():
    learner = toy_learner(SanityCheck(), data=())
    with (
        pytest.raises(SanityCheckException, match=r"There are training data: the learner has no data\.training"),
        run_epoch(learner, TrainingPhase()),
    ):
        pass


def test_missing_training_data_are_an_error_of_a_fit_too():
    learner = toy_learner(SanityCheck(), data=())
    with pytest.raises(SanityCheckException, match=r"There are training data: the learner has no data\.training"):
        learner.fit(1)
    assert learner.fit(0).epochs == 0


def test_a_fit_without_a_training_phase_needs_no_training_data(log):
    validation = toy_learner().data.validation
    learner = toy_learner(SanityCheck(), data={"validation": validation})
    learner.fit(1, phases=[ValidationPhase()])
    assert (learner.get_callback(SanityCheck).done, log) == (False, [])


def test_missing_validation_data_are_a_warning(log):
    learner = toy_learner(SanityCheck())
    assert learner.fit(1, (learner.data.training,)).epochs == 1
    assert len(log) == 1
    assert log[0].startswith("SanityCheck: There are validation data: the learner has no data.validation.")


class Encoding(AbstractTrainingPhase):
    """A phase whose batches are not pairs."""

    def step(self, learner, batch):
        with run_step(learner, self, xs=batch):
            pass


def test_a_phase_with_a_step_of_its_own_needs_no_pairs():
    learner = toy_learner(SanityCheck(), data=([torch.ones(2, 1)], [torch.ones(2, 1)]))
    epoch(learner, Encoding())
    assert learner.get_callback(SanityCheck).done


def test_a_phase_with_a_step_of_its_own_has_its_optimizer_checked():
    learner = toy_learner(SanityCheck(), optimizer=torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))
    with pytest.raises(SanityCheckException, match="The optimizer can train the model"):
        epoch(learner, Encoding())


# Looked at are the phases of the fit under way.


class Detection(ValidationPhase):
    """A validation phase whose batches are mappings."""

    def step(self, learner, batch):
        with run_step(learner, self, xs=batch["image"], ys=batch["boxes"]) as (_, state):
            state.yhats = learner.model(state.xs)
            state.loss = learner.lossfn(state.yhats, state.ys)


class Paired(TrainingPhase):
    """A training phase that makes its batches of those of the loader."""

    def epoch(self, learner, data):
        with run_epoch(learner, self):
            for xs in data:
                self.step(learner, (xs, 3 * xs))


class Other(TrainingPhase):
    """A training phase with data of its own name."""

    data_name = "images"


def test_a_validation_phase_with_batches_of_its_own_form_is_not_stopped(log):
    xs = torch.ones(2, 1)
    learner = toy_learner(SanityCheck(), data=([(xs, xs)], [{"image": xs, "boxes": xs}]))
    assert learner.fit(1, phases=[TrainingPhase(), Detection()]).epochs == 1
    assert log == []


def test_data_that_no_phase_of_the_fit_uses_are_not_looked_at(log):
    learner = toy_learner(SanityCheck())
    learner = toy_learner(SanityCheck(), data=(learner.data.training, ["neither a pair nor a tensor"]))
    assert learner.fit(1, phases=[TrainingPhase()]).epochs == 1
    assert log == []


def test_a_phase_that_makes_its_own_batches_is_not_stopped(log):
    learner = toy_learner(SanityCheck(), data=([torch.ones(2, 1)],))
    assert learner.fit(1, phases=[Paired()]).epochs == 1
    assert [text.split("\n")[0] for text in log] == [
        "SanityCheck: There are validation data: the learner has no data.validation."
    ]


def test_a_training_phase_with_data_of_another_name_needs_those_and_no_other():
    good = toy_learner().data.training
    assert toy_learner(SanityCheck(), data={"images": good}).fit(1, phases=[Other()]).epochs == 1
    with pytest.raises(SanityCheckException, match=r"data\.images: the first batch is a tuple of 1"):
        toy_learner(SanityCheck(), data={"images": [(1,)], "training": good}).fit(1, phases=[Other()])
    with pytest.raises(SanityCheckException, match=r"There are training data: the learner has no data\.images"):
        toy_learner(SanityCheck(), data={"training": good}).fit(1, phases=[Other()])


def test_an_epoch_of_its_own_is_looked_at_as_a_fit_is():
    learner = toy_learner(SanityCheck(), data=([(1,)],))
    with pytest.raises(SanityCheckException, match=r"data\.training: the first batch is a tuple of 1"):
        epoch(learner, TrainingPhase())


# Looking leaves no trace.


def noisy_data() -> DataLoader:
    xs = torch.linspace(-1, 1, 24).reshape(24, 1)
    return DataLoader(TensorDataset(xs, 2 * xs), batch_size=8, shuffle=True)


def noisy_learner(*callbacks, **settings) -> Learner:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    settings = {"data": (noisy_data(), noisy_data()), "optimizer": torch.optim.SGD, **settings}
    return Learner(model, nn.functional.mse_loss, callbacks=callbacks, use_default_callbacks=False, **settings)


def everything(learner: Learner) -> list[torch.Tensor]:
    return [*learner.model.state_dict().values(), torch.get_rng_state(), torch.tensor(np.random.rand()).double()]


@pytest.mark.parametrize("generator", [None, 5])
def test_training_gives_the_same_bits_with_and_without_it(generator):
    def trained(*callbacks) -> list[torch.Tensor]:
        learner = noisy_learner(*callbacks)
        if generator is not None:
            for data in learner.data.values():
                data.generator = data.sampler.generator = torch.Generator().manual_seed(generator)
        learner.fit(2)
        return everything(learner)

    with_it, without = trained(SanityCheck()), trained()
    assert all(torch.equal(a, b) for a, b in zip(with_it, without, strict=True))


class CountingLoss:
    """Depends on how often it was called."""

    def __init__(self) -> None:
        self.recent = deque([0], maxlen=3)

    def __call__(self, yhats, ys):
        self.recent.append(self.recent[-1] + 1)
        return (yhats - ys).abs().mean() * (1 + sum(self.recent) / 100)


class QueuedLoader:
    """Begins each pass where the last one ended."""

    def __init__(self) -> None:
        self.queue = deque((torch.full((4, 1), float(i)), torch.full((4, 1), 3.0 * i)) for i in range(5))

    def __len__(self) -> int:
        return 3

    def __iter__(self):
        for _ in range(3):
            self.queue.rotate(1)
            yield self.queue[0]


@pytest.mark.filterwarnings("ignore:.*jit")
@pytest.mark.parametrize("scripted", [False, True])
def test_a_loss_that_counts_a_loader_with_a_queue_and_a_scripted_model_are_found_as_they_were(scripted):
    def trained(*callbacks):
        torch.manual_seed(3)
        model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
        model = torch.jit.script(model) if scripted else model
        data = (QueuedLoader(), QueuedLoader())
        learner = Learner(model, CountingLoss(), data=data, callbacks=callbacks, use_default_callbacks=False)
        learner.fit(2)
        modes = [module.training for module in model.modules()]
        weights = {name: value.tolist() for name, value in model.state_dict().items()}
        return modes, weights, list(learner.lossfn.recent), [float(xs[0]) for xs, _ in data[0].queue]

    assert trained(SanityCheck()) == trained()


def test_modes_buffers_and_gradients_are_found_as_they_were():
    class Look(Callback):
        state_access = {"model": Write}
        run_after = (SanityCheck,)

        def on_epoch_begin(self, learner, phase: TrainingPhase):
            self.modes = [module.training for module in learner.model.modules()]
            self.buffers = [buffer.clone() for buffer in learner.model.buffers()]
            self.gradients = [parameter.grad for parameter in learner.model.parameters()]

    look = Look()
    learner = noisy_learner(SanityCheck(), look)
    learner.model.train()
    learner.model[2].eval()
    learner.fit(1)
    assert look.modes == [True, True, True, False, True]
    assert [buffer.tolist() for buffer in look.buffers] == [[0] * 4, [1] * 4, 0]
    assert look.gradients == [None] * 6


def test_an_audit_sees_no_change():
    learner = noisy_learner(SanityCheck())
    with audit(learner):
        assert learner.fit(1).epochs == 1


def test_an_iterator_keeps_its_first_batch_and_the_log_says_what_was_left_out(log):
    learner = toy_learner(nbatches=3)
    batches = iter(learner.data.training)
    learner = toy_learner(SanityCheck(), data=(batches, learner.data.validation))
    assert learner.fit(1).steps == 3
    assert log == [
        'SanityCheck skipped "Batches are pairs", "lossfn(model(xs), ys) is a number", '
        '"Targets are in the loss function\'s range", "Outputs and targets have one shape", '
        '"The first loss is finite", "A cross-entropy gets logits": '
        "data.training is an iterator and would lose its first batch; pass a list or a DataLoader."
    ]


def test_a_fault_of_the_validation_data_is_found_beside_an_iterator():
    batches = iter(toy_learner().data.training)
    learner = toy_learner(SanityCheck(), data=(batches, [(torch.ones(2, 1),)]))
    with pytest.raises(SanityCheckException, match=r"data\.validation: the first batch is a tuple of 1"):
        learner.fit(1)


# Beside other callbacks.


class Double(Callback):
    """Moves models and batches to double precision, as `ToDevice` moves them to a device."""

    state_access = {"model": Write, "step.xs": Write, "step.ys": Write}

    def move_data(self, tensor):
        return tensor.double()

    def on_init(self, learner):
        learner.model.double()

    def on_step_begin(self, learner):
        learner.step.xs, learner.step.ys = self.move_data(learner.step.xs), self.move_data(learner.step.ys)


def test_batches_are_moved_as_a_callback_moves_them():
    learner = toy_learner(SanityCheck(), Double())
    assert learner.fit(1).epochs == 1
    assert learner.step.xs.dtype is torch.float64


def test_a_fault_is_found_also_where_batches_are_moved():
    xs = torch.ones(4, 2)
    with pytest.raises(SanityCheckException, match=r"data\.training: RuntimeError: mat1 and mat2 shapes"):
        toy_learner(SanityCheck(), Double(), data=([(xs, xs)],)).fit(1)


def test_a_model_elsewhere_than_its_batches_is_a_fault_if_no_callback_moves_them():
    learner = toy_learner(SanityCheck())
    learner.model.double()
    with pytest.raises(SanityCheckException, match="to have the same dtype, but got: float != double"):
        learner.fit(1)


class Flatten(Callback):
    state_access = {"step.xs": Write}

    def on_step_begin(self, learner):
        learner.step.xs = learner.step.xs.flatten(1)


def test_what_another_callback_may_fix_is_not_a_failure(log):
    batch = torch.ones(4, 1, 1), torch.ones(4, 1)
    toy_learner(SanityCheck(), Flatten(), data=([batch], [batch])).fit(1)
    assert log == ['SanityCheck skipped "Outputs and targets have one shape": Flatten may change what is in a step.']
