"""All first-party callbacks together keep the guarantees; each by itself does in its plugin's tests."""

import inspect
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from treadle import Callback, Learner, Phase, Write, accesses, plugins
from treadle.access import overlaps
from treadle.state.random_state import preserved_random_state
from treadle.testing import audit, noisy_learner
from treadle_checkpoint import Checkpointer, checkpoints, resume
from treadle_checkpoint.run_files import read

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[1] / "docs")
    import first_party


@contextmanager
def seeded() -> Iterator[None]:
    with preserved_random_state():
        torch.manual_seed(0)
        yield


#: Those that another first-party callback cannot be with: both move the model, average it for validation, clip the
#: gradients or set the learning rate; or compile the step. Compiling the model is left out for the time that it takes.
ALONE = ("to_gpu", "swa", "optimizer_modes", "gradient_clipping", "one_cycle_scheduler", "compiled_step", "compile")


def all_callbacks(*left_out: str) -> list[Callback]:
    """One of each first-party callback that can be together, with the option that uses the most."""
    last = {example.entry_point: example for example in first_party.examples()}
    return [example.make() for name, example in last.items() if name not in (*ALONE, *left_out)]


def state_of(learner: Learner) -> dict[str, Any]:
    """What a training has come to."""
    return {
        "model": learner.model.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "callbacks": {c.name: c.state_dict() for c in learner.callbacks if not isinstance(c, Checkpointer)},
        "cbstate": {
            name: entry.state_dict()
            if hasattr(entry, "state_dict")
            else {key: value.state_dict() if hasattr(value, "state_dict") else value for key, value in entry.items()}
            for name, entry in learner.cbstate.items()
        },
        "random": torch.get_rng_state(),
    }


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal, tensors bit for bit; the gradients of an update that a scaler skips may be NaN."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_every_callback_has_a_contract_in_the_tests_of_its_plugin() -> None:
    ours = {distribution.name for distribution in first_party.distributions()}
    installed = {plugin.name for plugin in plugins.installed("treadle.callbacks") if plugin.distribution in ours}
    assert {example.entry_point for example in first_party.examples()} == installed


EXAMPLES = pytest.mark.parametrize("example", first_party.examples(), ids=lambda example: example.label)


@EXAMPLES
def test_a_callback_keeps_its_arguments_as_attributes_so_that_its_repr_can_show_them(
    example: first_party.Example,
) -> None:
    callback = example.make()
    kept = inspect.signature(example.cls).parameters.keys() - {"learn"}  # fastai's, which is there in a handler
    assert all(hasattr(callback, name) for name in kept)
    assert all(f"{option}=" in repr(callback) for option in re.findall(r"(\w+)=", example.options))


def test_all_together_the_order_of_the_list_changes_neither_the_plan_nor_the_run() -> None:
    outcomes = []
    for seed in range(4):
        callbacks = all_callbacks("checkpointer")
        random.Random(seed).shuffle(callbacks)
        with seeded():
            learner = noisy_learner(*callbacks, nbatches=4)
            learner.fit(2)
            outcomes.append((str(learner.plan()), state_of(learner)))
    plan, state = outcomes[0]
    assert [other for other, _ in outcomes] == [plan] * 4
    assert all(same(state, other) for _, other in outcomes[1:])


def test_callbacks_that_write_only_cbstate_do_not_change_the_weights() -> None:
    watching = [
        callback
        for callback in all_callbacks()
        if all(overlaps(path, "cbstate") for path in accesses(callback, Write)) and callback.name != "LogHyperParams"
    ]
    assert len(watching) >= 12
    weights = []
    for callbacks in ([], watching):
        with seeded():
            learner = noisy_learner(*callbacks, nbatches=4)
            learner.fit(2)
            weights.append(learner.model.state_dict())
    assert same(*weights)


def test_with_or_without_validation_from_a_shuffled_loader_the_weights_are_the_same() -> None:
    weights = []
    for names in (("training", "validation"), ("training",)):
        with seeded():
            learner = noisy_learner(nbatches=4)
            learner.fit(3, {name: learner.data[name] for name in names})
            weights.append(learner.model.state_dict())
    assert same(*weights)


def test_all_together_an_audit_finds_nothing() -> None:
    with seeded():
        learner = noisy_learner(*all_callbacks(), nbatches=4)
        with audit(learner):
            assert learner.fit(2).epochs == 2


def test_all_together_the_order_of_the_list_changes_nothing_in_a_checkpoint(tmp_path: Path) -> None:
    contents = []
    for seed in range(3):
        saving = Checkpointer(tmp_path / str(seed), every_steps=1)
        callbacks = [*all_callbacks("checkpointer"), saving]
        random.Random(seed).shuffle(callbacks)
        with seeded():
            noisy_learner(*callbacks, nbatches=4).fit(1)
        contents.append(
            [(vars(state), place) for state, place in (read(entry.path) for entry in checkpoints(saving.folder))]
        )
        for state, _ in contents[-1]:
            assert state["parts"]["callbacks"]["Checkpointer"]["state"].pop("run")  # unique to the run
    assert len(contents[0]) == 4
    assert same(contents[0], contents[1])
    assert same(contents[0], contents[2])


def test_all_together_a_run_is_resumed_after_any_step_to_the_same_bits(tmp_path: Path) -> None:
    def make(folder: Path) -> Learner:
        saving = Checkpointer(folder, every_epochs=1, every_steps=1, phase=Phase, during=Phase)
        return noisy_learner(*all_callbacks("checkpointer"), saving, nbatches=4, optimizer=torch.optim.Adam)

    with seeded():
        whole = make(tmp_path / "whole")
        whole.fit(2)
        expected = state_of(whole)
    saved = checkpoints(tmp_path / "whole")
    assert len(saved) == 2 * (4 + 1 + 4 + 1)
    for checkpoint in saved:
        with preserved_random_state():
            learner = make(tmp_path / "elsewhere" / checkpoint.path.name)
            resume(learner, checkpoint.path)
            learner.fit(2)
            assert same(state_of(learner), expected), checkpoint.path.name
