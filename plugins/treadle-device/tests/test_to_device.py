import copy
from collections import Counter, UserDict, deque

import pytest
import torch
from torch import nn
from treadle import (
    Callback,
    CallbackConflictError,
    CustomCallback,
    Learner,
    Phase,
    Read,
    StepBegin,
    TrainingPhase,
    ValidationPhase,
    Write,
    accesses,
    epoch,
    run_step,
    toy_learner,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_device import ToDevice, ToGPU
from treadle_device.to_device import Move, unavailable

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="tests what happens without CUDA")


def double(thing):
    return thing.double()


class Watch(Callback):
    """Note the types of the batches that others see when a step begins."""

    state_access = {"step.xs": Read, "step.ys": Read}

    def __init__(self) -> None:
        self.seen: list[tuple[str, torch.dtype, torch.dtype]] = []

    def on_step_begin(self, learner, phase: Phase) -> None:
        self.seen.append((type(phase).__name__, learner.step.xs.dtype, learner.step.ys.dtype))


def test_model_and_batches_are_moved_in_every_phase() -> None:
    watch = Watch()
    learner = toy_learner(watch, ToDevice(double), nbatches=1)
    assert learner.model.weight.dtype == torch.float64
    learner.fit(1)
    assert watch.seen == [
        ("TrainingPhase", torch.float64, torch.float64),
        ("ValidationPhase", torch.float64, torch.float64),
    ]


def test_the_data_themselves_stay_where_they_are() -> None:
    learner = toy_learner(ToDevice(double))
    learner.fit(1)
    assert learner.data.training[0][0].dtype == torch.float32


def test_model_and_data_can_be_moved_apart() -> None:
    def only_inputs(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.double() if tensor.dtype == torch.float32 else tensor

    data = [(torch.ones(2, 1), torch.zeros(2, dtype=torch.int64))]
    learner = Learner(
        nn.Linear(1, 2),
        nn.functional.cross_entropy,
        data=(data,),
        callbacks=[ToDevice(only_inputs, lambda model: model.to(torch.float64))],
        use_default_callbacks=False,
    )
    learner.fit(1)
    assert (learner.step.xs.dtype, learner.step.ys.dtype) == (torch.float64, torch.int64)


@pytest.mark.parametrize("device", ["meta", torch.device("meta")])
def test_a_device_is_the_function_that_moves_to_it(device) -> None:
    learner = toy_learner(ToDevice(device, "meta"), nbatches=1)
    assert learner.model.weight.is_meta
    assert [group["params"][0] is learner.model.weight for group in learner.optimizer.param_groups] == [True]
    learner.fit(1)
    assert learner.step.xs.is_meta
    assert learner.step.yhats.is_meta


def test_moving_to_where_everything_is_changes_nothing() -> None:
    plain, moved = toy_learner(), toy_learner(ToDevice("cpu"))
    model, optimizer = moved.model, moved.optimizer
    plain.fit(2)
    moved.fit(2)
    assert torch.equal(plain.model.weight, moved.model.weight)
    assert moved.model is model
    assert moved.optimizer is optimizer


def test_the_optimizer_follows_a_new_module() -> None:
    learner = toy_learner(ToDevice(double, lambda model: copy.deepcopy(model).double()))
    before = learner.model.weight.item()
    assert learner.optimizer.param_groups[0]["params"] == [learner.model.weight]
    assert learner.params["weight"] is learner.model.weight
    learner.fit(1)
    assert learner.model.weight.item() > before


def test_the_optimizers_state_is_kept_when_a_new_module_comes_later() -> None:
    def make(*callbacks: Callback) -> Learner:
        model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(model.weight)
        data = [(torch.ones(1, 1), torch.full((1, 1), 3.0))] * 4
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return Learner(
            model, nn.functional.l1_loss, data=(data,), optimizer=optimizer, callbacks=callbacks,
            use_default_callbacks=False,
        )  # fmt: skip

    plain, moved = make(), make()
    plain.fit(2)
    moved.fit(1)
    moved.add_callback(ToDevice("cpu", copy.deepcopy))
    moved.fit(1)
    assert moved.model.weight.item() == plain.model.weight.item()


def test_the_optimizers_state_is_moved_along() -> None:
    learner = toy_learner(optimizer=lambda parameters: torch.optim.Adam(parameters))
    learner.fit(1)
    before = learner.optimizer.state[learner.model.weight]["exp_avg"].item()
    learner.add_callback(ToDevice(double))
    state = learner.optimizer.state[learner.model.weight]
    assert (state["exp_avg"].dtype, state["exp_avg"].item()) == (torch.float64, before)


def test_initialising_twice_is_initialising_once() -> None:
    made = []

    def copied(model: nn.Module) -> nn.Module:
        made.append(copy.deepcopy(model))
        return made[-1]

    learner = toy_learner(ToDevice("cpu", copied))
    learner.add_callback(Watch())  # initialises all callbacks again
    assert len(made) == 1
    assert learner.model is made[0]


def test_several_models_and_optimizers_are_moved_each() -> None:
    models = {"left": nn.Linear(1, 1), "right": nn.Linear(1, 1)}
    learner = Learner(
        models,
        nn.functional.l1_loss,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        callbacks=[ToDevice(double, lambda model: copy.deepcopy(model).double())],
        use_default_callbacks=False,
    )
    assert {name: model.weight.dtype for name, model in learner.model.items()} == {
        "left": torch.float64,
        "right": torch.float64,
    }
    held = [
        parameter
        for optimizer in learner.optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert set(held) == {p for model in learner.model.values() for p in model.parameters()}


def test_one_optimizer_for_each_model_follows_its_own() -> None:
    models = {"left": nn.Linear(1, 1), "right": nn.Linear(1, 1)}
    learner = Learner(
        models,
        nn.functional.l1_loss,
        optimizer={name: torch.optim.SGD(model.parameters(), lr=0.1) for name, model in models.items()},
        callbacks=[ToDevice("cpu", copy.deepcopy)],
        use_default_callbacks=False,
    )
    for name in models:
        assert learner.optimizer[name].param_groups[0]["params"] == list(learner.model[name].parameters())


def test_a_nested_batch_is_moved_to_its_leaves() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, image, text):
            return self.scale * (image + text["ids"])

    data = [({"image": torch.ones(1), "text": {"ids": torch.ones(1), "words": ["a"]}}, torch.zeros(1))]
    learner = Learner(
        Sum(), nn.functional.l1_loss, data=(data,), callbacks=[ToDevice(double)], use_default_callbacks=False
    )
    learner.fit(1)
    assert learner.step.yhats.dtype == torch.float64
    assert learner.step.xs["text"]["words"] == ["a"]


@pytest.mark.parametrize(
    ("device", "move_model", "expected"),
    [
        ("meta", None, (torch.device("meta"), torch.float32)),
        (double, None, (torch.device("cpu"), torch.float64)),
        (double, lambda model: copy.deepcopy(model).double(), (torch.device("cpu"), torch.float64)),
        ("cpu", lambda model: model.to("meta"), (torch.device("meta"), torch.float32)),
        ("cpu", copy.deepcopy, (torch.device("cpu"), torch.float32)),
    ],
)
def test_a_loss_function_goes_where_the_model_went(device, move_model, expected) -> None:
    learner = Learner(
        nn.Linear(1, 2),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0])),
        callbacks=[ToDevice(device, move_model)],
        use_default_callbacks=False,
    )
    assert (learner.lossfn.weight.device, learner.lossfn.weight.dtype) == expected
    learner.add_callback(Watch())  # initialises all callbacks again
    assert (learner.lossfn.weight.device, learner.lossfn.weight.dtype) == expected


def test_a_loss_function_stays_where_models_are_in_several_places() -> None:
    models = {"left": nn.Linear(1, 1), "right": nn.Linear(1, 1).double()}
    lossfn = nn.CrossEntropyLoss(weight=torch.ones(1))
    Learner(models, lossfn, callbacks=[ToDevice("cpu", lambda model: model)], use_default_callbacks=False)
    assert lossfn.weight.dtype == torch.float32


def test_the_optimizer_trains_the_parameters_of_a_loss_function_that_was_moved() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, yhats, ys):
            return (self.scale * (yhats - ys) ** 2).mean()

    model, lossfn = nn.Linear(1, 1), Scaled()
    learner = Learner(
        model,
        lossfn,
        data=([(torch.ones(2, 1), torch.zeros(2, 1))],),
        optimizer=torch.optim.SGD([*model.parameters(), *lossfn.parameters()], lr=0.1, momentum=0.9),
        use_default_callbacks=False,
    )
    learner.fit(1)
    learner.add_callback(ToDevice(double))
    learner.fit(1)
    state = learner.optimizer.state[lossfn.scale]["momentum_buffer"]
    assert (lossfn.scale.dtype, state.dtype) == (torch.float64, torch.float64)


@pytest.mark.parametrize("kind", [Counter, UserDict, deque])
def test_a_batch_that_comes_again_is_the_same_batch(kind) -> None:
    class Sum(nn.Linear):
        def forward(self, **inputs):
            return super().forward(inputs["a"])

    seen = []
    items = {"a": torch.ones(1, 1)}
    batch = (kind(items), torch.zeros(1, 1)) if kind is not deque else (items, deque([torch.zeros(1, 1)]))
    learner = Learner(
        Sum(1, 1),
        lambda yhats, ys: yhats.sum() - (ys if torch.is_tensor(ys) else ys[0]).sum(),
        data=([batch],),
        callbacks=[
            ToDevice(double),
            CustomCallback(
                lambda learner: seen.append((learner.step.xs["a"].item(), learner.step.xs["a"].dtype)),
                StepBegin,
                state_access={"step.xs": Read},
            ),
        ],
        use_default_callbacks=False,
    )
    learner.fit(3)
    assert seen == [(1.0, torch.float64)] * 3
    assert items["a"].dtype == torch.float32


class Unsupervised(ValidationPhase):
    def step(self, learner, batch):
        with run_step(learner, self, xs=batch, mask=torch.ones(1)) as (_, state):
            state.yhats = learner.model(state.xs)


def test_a_phase_without_targets_is_allowed() -> None:
    learner = toy_learner(ToDevice(double))
    epoch(learner, Unsupervised(), [torch.ones(2, 1)])
    assert learner.step.yhats.dtype == torch.float64
    assert learner.step.mask.dtype == torch.float32


def test_other_parts_of_the_step_are_moved_on_request() -> None:
    mover = ToDevice(double, entries=("xs", "mask"))
    assert accesses(mover, Write) == {"model", "params", "lossfn", "optimizer", "step.xs", "step.mask"}
    learner = toy_learner(mover)
    epoch(learner, Unsupervised(), [torch.ones(2, 1)])
    assert learner.step.mask.dtype == torch.float64


def test_it_declares_what_it_moves() -> None:
    assert accesses(ToDevice("cpu"), Write) == {"model", "params", "lossfn", "optimizer", "step.xs", "step.ys"}
    assert accesses(ToDevice("cpu"), Read) == set()


class Noise(Callback):
    """Changes the inputs."""

    state_access = {"step.xs": Write}

    def on_step_begin(self, learner, phase: TrainingPhase) -> None:
        learner.step.xs = learner.step.xs + 1


def test_it_moves_before_others_change() -> None:
    noise, mover = Noise(), ToDevice(double)
    order = toy_learner(noise, mover).ordering.order(StepBegin, TrainingPhase)
    assert order == (mover, noise)


def test_two_of_them_are_refused() -> None:
    with pytest.raises(CallbackConflictError, match="Each of them moves the model and the batches"):
        toy_learner(ToDevice("cpu"), ToGPU())


def test_what_is_neither_device_nor_function_is_refused() -> None:
    with pytest.raises(
        ArgumentTypeError, match=r'move_data must be a device or a function, got 3\.\nFix: .*\n    ToDevice\("cuda"\)'
    ):
        ToDevice(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="move_model must be a device or a function, got 3"):
        ToDevice("cpu", 3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="'gpu' is not a device that torch knows"):
        ToDevice("gpu")


def test_a_move_that_does_not_return_a_module_is_refused() -> None:
    with pytest.raises(
        ArgumentTypeError,
        match=r"move_model returned None in place of the model\.\nFix: return a module:\n    ToDevice\(",
    ):
        toy_learner(ToDevice("cpu", lambda model: None))


def test_a_module_of_other_parameters_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match="a module with 2 parameters in place of one with 1"):
        toy_learner(ToDevice("cpu", lambda model: nn.Linear(1, 1)))


def test_tensors_and_modules_are_moved() -> None:
    move = Move("meta")
    assert move(torch.ones(2)).is_meta
    assert move(torch.nn.Linear(1, 1)).weight.is_meta


def test_what_is_there_already_is_not_copied() -> None:
    tensor = torch.ones(2)
    assert Move(torch.device("cpu"))(tensor) is tensor


def test_a_name_that_torch_does_not_know_is_refused() -> None:
    with pytest.raises(
        ArgumentValueError, match=r"'gpu' is not a device .*\.\nFix: use 'cuda', 'cuda:1', 'mps' or 'cpu'"
    ):
        Move("gpu")


@no_cuda
def test_an_unavailable_device_is_refused_before_anything_is_moved() -> None:
    with pytest.raises(
        ArgumentValueError, match=r"'cuda:1' cannot be used: torch finds no CUDA.*\.\nFix: .*\n    ToGPU\(\)"
    ):
        Move("cuda:1")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="tests what happens without MPS")
def test_mps_is_refused_where_it_is_unavailable() -> None:
    assert unavailable(torch.device("mps")) == "torch finds no MPS device"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_cuda_device_of_too_high_a_number_is_refused() -> None:
    assert "counted from 0" in str(unavailable(torch.device("cuda:99")))
    assert unavailable(torch.device("cuda")) is None
