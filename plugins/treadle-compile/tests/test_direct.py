"""`Direct`: what torch has compiled is called without torch's wrappers, under the same conditions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from treadle import Callback, Learner, TrainingPhase, Write
from treadle_compile import CompiledStep
from treadle_compile.unit import unit
from treadle_compile.unit.conditions import is_needed, with_fewer_conditions
from treadle_compile.unit.direct import Direct, direct


def function_of(scale: list[float]) -> Any:
    def function(xs: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
        return xs * scale[0] + ys

    return function


def compiled(function: Any) -> Direct:
    torch.compile(function, backend="eager", fullgraph=True)(torch.ones(2), torch.ones(2))
    found = direct(function)
    assert found is not None
    return found


def test_it_fits_where_torch_would_run_the_same_code_again() -> None:
    scale = [2.0]
    run = compiled(function_of(scale))
    assert run.fits(torch.zeros(2), torch.ones(2))
    assert run(torch.zeros(2), torch.ones(2)).tolist() == [1.0, 1.0]
    assert not run.fits(torch.zeros(3), torch.ones(3))
    assert not run.fits(torch.zeros(2, dtype=torch.float64), torch.ones(2))
    with torch.no_grad():
        assert not run.fits(torch.zeros(2), torch.ones(2))
    scale[0] = 3.0
    assert not run.fits(torch.zeros(2), torch.ones(2))


def test_what_torch_has_dropped_fits_nothing() -> None:
    run = compiled(function_of([2.0]))
    torch.compiler.reset()
    assert not run.fits(torch.zeros(2), torch.ones(2))


def test_there_is_none_of_a_function_that_was_not_compiled() -> None:
    assert direct(function_of([2.0])) is None


def learner_of(*callbacks: Callback) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    data = [(torch.randn(n, 4), torch.randn(n, 2)) for n in (8, 8, 4, 4, 8)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Learner(
        model,
        nn.MSELoss(),
        data=(data,),
        optimizer=optimizer,
        callbacks=[CompiledStep(backend="eager"), *callbacks],
        use_default_callbacks=False,
    )


def weights(learner: Learner) -> list[Any]:
    return [value.tolist() for value in learner.model.state_dict().values()]


def test_with_a_torch_that_does_not_show_what_it_has_compiled_the_run_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Direct] = []
    run = Direct.__call__
    monkeypatch.setattr(Direct, "__call__", lambda self, *passed: (calls.append(self), run(self, *passed))[1])
    learner = learner_of()
    learner.fit(2)
    assert len(calls) == 10 - 2 - 2  # the first batch of each shape runs as written, the second one compiles
    calls.clear()
    monkeypatch.delattr(torch._dynamo.eval_frame, "_debug_get_cache_entry_list")
    other = learner_of()
    other.fit(2)
    assert calls == []
    assert weights(other) == weights(learner)


def test_what_somebody_changes_in_the_model_is_seen_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Callback):
        state_access = {"model": Write}

        def on_step_begin(self, learner: Any, phase: TrainingPhase) -> None:
            learner.model[1].momentum = 0.1 if learner.progress.steps < 4 else 0.5

    learner = learner_of(Slow())
    learner.fit(1)
    monkeypatch.setattr(unit, "direct", lambda function: None)
    other = learner_of(Slow())
    other.fit(1)
    assert weights(other) == weights(learner)
    assert learner.model[1].running_mean.tolist() != learner_of().model[1].running_mean.tolist()


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("L['xs']", True),
        ("values[0]", True),
        ("module._modules['model'].training", True),
        ("groups[0]['momentum']", True),
        ("G['FLAG']", True),
        ("G['__import_torch_dot_nn_dot_modules_dot_module']._global_forward_hooks", True),
        ("G['__import_torch_dot_nn_dot_utils_dot_parametrize']._cache_enabled", True),
        ("where[0]", False),
        ("L['names'][0]", False),
        ("G['functional_call']", False),
        ("G['__builtins_dict___2']['zip']", False),
        ("G['__import_torch_dot__functorch_dot_eager_transforms'].tree_flatten", False),
        ("__import__('torch').utils._pytree.SUPPORTED_NODES", False),
    ],
)
def test_conditions_on_what_nobody_changes_are_left_out(name: str, needed: bool) -> None:
    assert is_needed(name) is needed


def test_options_of_the_user_are_kept_and_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"dynamic": False, "options": {"guard_filter_fn": len, "size_asserts": False}}
    assert with_fewer_conditions(options) == options
    assert with_fewer_conditions(options)["options"] is not options["options"]
    assert with_fewer_conditions({"mode": "max-autotune"}) == {"mode": "max-autotune"}  # torch takes one of the two
    monkeypatch.delattr(torch.compiler, "skip_guard_on_inbuilt_nn_modules_unsafe")
    assert with_fewer_conditions({"dynamic": False}) == {"dynamic": False}
