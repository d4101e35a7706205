"""Every pair of first-party callbacks is ordered, compatible, or refused with a reason."""

import re
from pathlib import Path

import pytest
from treadle import CallbackConflictError, toy_learner

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[1] / "docs")
    import first_party

PAIRS = first_party.pairs()


def test_the_table_has_every_pair_once_and_each_callback_with_itself() -> None:
    n = len(first_party.examples())
    assert len({frozenset((one.label, other.label)) for one, other, _ in PAIRS}) == n * (n + 1) // 2


@pytest.mark.parametrize(
    ("one", "other", "pair"), PAIRS, ids=[f"{one.label} and {other.label}" for one, other, _ in PAIRS]
)
def test_a_pair_is_ordered_compatible_or_refused_with_a_reason(
    one: first_party.Example, other: first_party.Example, pair: first_party.Pair
) -> None:
    assert pair.verdict in ("ordered", "compatible", "refused")
    assert pair.reason
    a, b = one.make(), other.another()
    present = first_party.providers([a, b], first_party.examples())
    settings = {**one.contract.settings, **other.contract.settings}
    needed = {"optimizer": settings["optimizer"]} if "optimizer" in settings else {}
    if pair.verdict == "refused":
        with pytest.raises(CallbackConflictError, match=re.escape(pair.reason)):
            toy_learner(a, b, *present, **needed)
        return
    learner = toy_learner(a, b, *present, nbatches=2, **needed)
    again = [other.another(), one.make()]  # for a callback works for the learner that it joined last
    other_way = toy_learner(*first_party.providers(again, first_party.examples()), *again, **needed)
    assert str(other_way.plan()) == str(learner.plan())
    if pair.verdict == "ordered":
        first, second = (a, b) if pair.first == one.label else (b, a)
        rows = [ordered for _, hook, ordered in learner.plan().rows if hook in pair.hooks]
        together = [ordered for ordered in rows if a in ordered and b in ordered]
        assert together
        assert all(ordered.index(first) < ordered.index(second) for ordered in together)
    result = learner.fit(2)
    assert (result.epochs, result.steps, result.cancelled) == (2, 4, None)
