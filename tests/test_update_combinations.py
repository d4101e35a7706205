"""Callbacks that change an update, in any combination: bit-equal to the loop written by hand, or refused with a fix."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import CallbackConflictError, Learner
from treadle_checkpoint import Checkpointer, checkpoints, resume

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parent)
    from by_hand import loop
    from by_hand.learner import ClampAtBackwardEnd, ClampInUpdate, callbacks_of, content, in_this_order, learner_of
    from by_hand.recipe import CHANGES, EPOCHS, STEPS, Recipe, differences, model_and_data

recipes = st.builds(
    Recipe,
    precision=st.sampled_from(["fp32", "bf16", "fp16"]),
    scale=st.sampled_from([2.0**10, 2.0**16, 2.0**20]),  # from those that skip nothing to those that skip many updates
    accumulate=st.sampled_from([1, 2, 3, 4]),
    weigh=st.booleans(),
    changes=st.lists(st.sampled_from(CHANGES), unique=True).map(tuple),
    average=st.sampled_from([None, "ema", "swa"]),
    lookahead=st.booleans(),
    sam=st.booleans(),
    schedule=st.booleans(),
    unfreeze=st.booleans(),
    adam=st.booleans(),
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by_hand(recipe: Recipe) -> dict[str, Any]:
    model, training, validation = model_and_data()
    torch.manual_seed(1)
    return loop.train(recipe, model, training, validation)


def by_callbacks(recipe: Recipe, order: random.Random, *more: Any, resolve: Any = None) -> Learner:
    """A learner with a callback for each part, in an order of the list that is drawn."""
    callbacks = callbacks_of(recipe)
    resolve = {**in_this_order(callbacks), **(resolve or {})}
    order.shuffle(callbacks)
    learner = learner_of(recipe, [*callbacks, *more], resolve)
    torch.manual_seed(1)
    return learner


def in_an_order_that_is_allowed(recipe: Recipe) -> Recipe:
    """The gradients are centralised before they are clipped, as `ClipGradients` says."""
    if {"centralise", "clip"} <= set(recipe.changes):
        before, after = sorted(recipe.changes.index(change) for change in ("centralise", "clip"))
        changes = list(recipe.changes)
        changes[before], changes[after] = "centralise", "clip"
        return replace(recipe, changes=tuple(changes))
    return recipe


@settings(max_examples=30, deadline=None)
@given(recipe=recipes.map(in_an_order_that_is_allowed), order=st.randoms(), k=st.integers(1, STEPS))
def test_it_is_bit_equal_to_the_loop_written_by_hand_also_when_it_is_resumed_after_any_step(
    recipe: Recipe, order: random.Random, k: int
) -> None:
    expected = by_hand(recipe)
    with tempfile.TemporaryDirectory() as folder:
        learner = by_callbacks(recipe, order, Checkpointer(folder, every_steps=k))
        learner.fit(EPOCHS)
        assert differences(expected, content(learner)) == []

        resumed = by_callbacks(recipe, order)
        torch.manual_seed(2)
        first = min(checkpoints(folder), key=lambda checkpoint: checkpoint.steps)
        assert first.steps == k
        resume(resumed, first.path, without=["Checkpointer"])
        resumed.fit(EPOCHS)
        assert differences(expected, content(resumed)) == []


without_their_clip = recipes.map(in_an_order_that_is_allowed).map(
    lambda recipe: replace(recipe, changes=tuple(change for change in recipe.changes if change != "their clip"))
)


@settings(max_examples=15, deadline=None)
@given(recipe=without_their_clip, order=st.randoms())
def test_a_clip_that_wraps_the_update_comes_after_all_changes(recipe: Recipe, order: random.Random) -> None:
    expected = by_hand(replace(recipe, changes=(*recipe.changes, "their clip")))
    resolve = {}
    if recipe.precision == "fp16":  # both change what an update changes, and a wrapper may do so before or after it
        with pytest.raises(CallbackConflictError, match=r"ClampInUpdate and MixedPrecision both write `step\.grads`"):
            by_callbacks(recipe, order, ClampInUpdate())
        resolve[("ClampInUpdate", "MixedPrecision")] = "first"
    learner = by_callbacks(recipe, order, ClampInUpdate(), resolve=resolve)
    learner.fit(EPOCHS)
    assert differences(expected, content(learner)) == []


@settings(max_examples=15, deadline=None)
@given(recipe=without_their_clip, order=st.randoms())
def test_a_clip_right_after_the_backward_pass_is_the_first_change_or_is_refused_where_gradients_are_not_whole_there(
    recipe: Recipe, order: random.Random
) -> None:
    if recipe.precision == "fp16" or recipe.accumulate > 1 or recipe.sam:
        with pytest.raises(CallbackConflictError) as refused:
            by_callbacks(recipe, order, ClampAtBackwardEnd())
        for problem in refused.value.problems:
            assert "ClampAtBackwardEnd" in problem.what
            assert "UpdateBegin" in str(problem)
        return
    expected = by_hand(replace(recipe, changes=("their clip", *recipe.changes)))
    learner = by_callbacks(recipe, order, ClampAtBackwardEnd())
    learner.fit(EPOCHS)
    assert differences(expected, content(learner)) == []


@settings(max_examples=20, deadline=None)
@given(recipe=recipes.filter(lambda recipe: len(recipe.changes) > 1), data=st.data())
def test_two_that_change_whole_gradients_and_that_nothing_orders_are_refused_with_the_line_that_orders_them(
    recipe: Recipe, data: st.DataObject
) -> None:
    callbacks = callbacks_of(in_an_order_that_is_allowed(recipe))
    settled = in_this_order(callbacks)
    left_out = data.draw(st.sets(st.sampled_from(sorted(settled)), min_size=1))
    resolve = {pair: answer for pair, answer in settled.items() if pair not in left_out}
    unordered = left_out - {("CentraliseGradients", "ClipGradients")}  # which are ordered by themselves
    if not unordered:
        learner_of(recipe, callbacks, resolve)
        return
    with pytest.raises(CallbackConflictError) as refused:
        learner_of(recipe, callbacks, resolve)
    assert {frozenset(c.name for c in problem.callbacks) for problem in refused.value.problems} == {
        frozenset(pair) for pair in unordered
    }
    for problem in refused.value.problems:
        first, second = sorted(callback.name for callback in problem.callbacks)
        assert problem.what == f"{first} and {second} both write `step.grads`, and nothing orders them."
        assert f'Learner(..., resolve={{("{first}", "{second}"): "first"}})' in problem.fix


def test_the_users_order_against_that_of_a_class_is_refused() -> None:
    recipe = Recipe(changes=("clip", "centralise"))
    callbacks = callbacks_of(recipe)
    with pytest.raises(
        CallbackConflictError,
        match=r"the learner's `resolve` lets ClipGradients run before CentraliseGradients, "
        r"and CentraliseGradients runs before ClipGradients(.|\n)*Fix: ",
    ):
        learner_of(recipe, callbacks, in_this_order(callbacks))
