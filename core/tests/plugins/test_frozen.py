"""What a plugin may rely on: one that was written for an earlier core runs unchanged."""

import hashlib
import inspect
from pathlib import Path

import pytest
from treadle import Callback, Operation, TrainingPhase, hookimpl, toy_learner
from treadle.events import known_events
from treadle.operations import known_operations
from treadle.plugins import find
from treadle.plugins.modules import Specifications

FROZEN = Path(__file__).parent / "frozen_0_1"

#: The arguments of every hook when the promise was made. Lines may be added, and nothing else.
ARGUMENTS = {
    "on_init": {"learner"},
    "on_fit_begin": {"learner"},
    "on_epoch_begin": {"learner", "phase"},
    "on_step_begin": {"learner", "phase"},
    "on_loss_begin": {"learner", "phase"},
    "on_backward_begin": {"learner", "phase"},
    "on_backward_end": {"learner", "phase"},
    "on_update_begin": {"learner", "phase"},
    "on_update_end": {"learner", "phase"},
    "on_step_end": {"learner", "phase"},
    "on_epoch_end": {"learner", "phase"},
    "on_fit_end": {"learner"},
    "epoch": {"learner", "phase", "data"},
    "step": {"learner", "phase", "batch"},
    "accumulate": {"learner", "phase"},
    "forward": {"learner", "phase"},
    "loss": {"learner", "phase"},
    "backward": {"learner", "phase"},
    "finalize_gradients": {"learner", "phase"},
    "update": {"learner", "phase"},
}

#: Those that no release has promised yet.
NEW = {"agree"}

#: Where the core's own hooks are: tests and plugins declare others.
OURS = ("treadle.events", "treadle.operations")

#: The methods of a callback that the core calls, with the arguments that it passes by position.
METHODS = {
    "resolve_conflict": ["self", "other"],
    "measure": ["self", "metrics"],
    "state_dict": ["self"],
    "load_state_dict": ["self", "state"],
}


@pytest.fixture
def frozen(install) -> None:
    site = install("frozen-plugin", files={"frozen_plugin.py": (FROZEN / "frozen_plugin.py").read_text("utf-8")})
    for name in ("METADATA", "entry_points.txt"):
        (site / "frozen_plugin-1.0.dist-info" / name).write_bytes((FROZEN / name).read_bytes())


def test_nobody_has_edited_the_plugin() -> None:
    digest = hashlib.sha256((FROZEN / "frozen_plugin.py").read_bytes().replace(b"\r\n", b"\n")).hexdigest()
    assert digest == "bd420fcac6117518346c3dad3fce2d269405700ea7ac707633c0451c9176fda4", (
        "put it back; write another one beside it for what is new"
    )


def test_it_is_called_for_every_hook(frozen) -> None:
    learner = toy_learner("frozen")
    learner.fit(1)
    assert set(learner.cbstate.frozen) == {*ARGUMENTS, "update: True"}


def test_it_changes_no_run(frozen) -> None:
    watched, alone = toy_learner("frozen"), toy_learner()
    watched.fit(1)
    alone.fit(1)
    assert watched.model.weight.item() == alone.model.weight.item()


def test_its_hook_module_resolves_its_conflict(frozen) -> None:
    learner = toy_learner("frozen_shifted", "frozen_doubled")
    (row,) = [row for row in str(learner.plan()).splitlines() if row.startswith("  on_step_begin")][:1]
    assert row.split(maxsplit=1)[1] == "Doubled > Shifted"


def test_it_says_for_which_core_it_was_written(frozen) -> None:
    assert find("frozen").core == ">=0.1"
    assert find("frozen").is_compatible


@pytest.mark.parametrize("hook", ARGUMENTS)
def test_a_hook_still_passes_every_argument(hook) -> None:
    specification = {**known_events(), **known_operations()}[hook].arguments
    assert set(specification) >= ARGUMENTS[hook]


def test_a_new_hook_is_promised_with_its_first_release() -> None:
    ours = {name: cls for name, cls in {**known_events(), **known_operations()}.items() if cls.__module__ in OURS}
    assert set(ours) == {*ARGUMENTS, *NEW}


@pytest.mark.parametrize("method", METHODS)
def test_the_core_calls_a_callbacks_methods_as_it_did(method) -> None:
    assert list(inspect.signature(getattr(Callback, method)).parameters) == METHODS[method]


def test_the_hook_of_modules_still_passes_both_callbacks() -> None:
    assert set(inspect.signature(Specifications.resolve_conflict).parameters) >= {"first", "second"}


def test_a_handler_does_not_see_an_argument_that_was_added_later() -> None:
    class AskedLater(Operation):
        """An operation that has one more argument than when the handler below was written."""

        @staticmethod
        def run(learner, phase, batch, added):
            return "core"

    class Old(Callback):
        @hookimpl
        def asked_later(self, learner, batch):
            return batch

    assert toy_learner(Old()).handle(TrainingPhase())(AskedLater, "batch", "added") == "batch"
