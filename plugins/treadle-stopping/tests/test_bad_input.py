"""Bad input: each is a typed error that names the thing and the fix, and nothing bad is taken for good."""

import math
from datetime import timedelta

import pytest
import torch
from treadle import Phase, TrainingPhase, ValidationPhase, toy_learner
from treadle.errors import TreadleError
from treadle_stopping import (
    GL,
    PQ,
    Disjunction,
    EarlyStopper,
    EarlyStopping,
    InvalidValue,
    Never,
    NoImprovement,
    NumberLimit,
    NumberSinceBest,
    Patience,
    StopOnNaNLoss,
    Threshold,
    TimeLimit,
    stopping_time,
)

COUNTING = {"NumberLimit": NumberLimit, "Patience": Patience, "NumberSinceBest": NumberSinceBest}
NO_COUNT = [0, -1, 1.5, math.nan, math.inf, True, None, "3", [3], torch.ones(2)]

BAD = {
    "a weight beside a monitor": (
        lambda: EarlyStopping(3, monitor="Accuracy", weight=lambda step: 1),
        r"EarlyStopping\(weight\) weighs the losses of the steps, and monitor='Accuracy' is looked at in their place\.",
    ),
    "a word as a weight": (
        lambda: EarlyStopping(3, weight="tokens"),
        r"EarlyStopping\(weight\) has an invalid value: 'tokens'\.",
    ),
    **{
        f"{name}({n!r})": (lambda make=make, n=n: make(n), rf"{name}\(n\) must be")
        for name, make in COUNTING.items()
        for n in NO_COUNT
    },
    **{f"NoImprovement({n!r})": (lambda n=n: NoImprovement(n), "patience must be") for n in NO_COUNT},
    **{
        f"EarlyStopping(patience={n!r})": (lambda n=n: EarlyStopping(patience=n), "patience must be")
        for n in NO_COUNT
        if n is not None
    },
    **{
        f"EarlyStopping(start_epoch={n!r})": (lambda n=n: EarlyStopping(3, start_epoch=n), r"start_epoch\) must be")
        for n in NO_COUNT[1:]
    },
    **{f"GL({a!r})": (lambda a=a: GL(a), r"GL\(alpha\) must be") for a in (0, -1, math.nan, True, None, "2")},
    **{f"PQ({a!r})": (lambda a=a: PQ(a), r"PQ\(alpha\) must be") for a in (0, -1, math.nan, True, None, "2")},
    **{f"PQ(k={k!r})": (lambda k=k: PQ(k=k), r"PQ\(k\)") for k in (1, 0, 2.5, math.nan, True, None, "5")},
    **{f"PQ(tol={t!r})": (lambda t=t: PQ(tol=t), r"PQ\(tol\) must be") for t in (0, -1, math.nan, True, None)},
    **{f"Threshold({v!r})": (lambda v=v: Threshold(v), r"Threshold\(value\)") for v in (math.nan, True, None, "0.1")},
    **{
        f"min_delta={d!r}": (lambda d=d: EarlyStopping(patience=3, min_delta=d), "min_delta must be")
        for d in (-0.1, math.nan, math.inf, True, None, "0.1")
    },
    **{
        f"TimeLimit({t!r})": (lambda t=t: TimeLimit(t), r"TimeLimit\(t\)")
        for t in (0, -1, math.nan, math.inf, 1e300, True, None, "1h", timedelta(0), timedelta(hours=-1), 1e-12)
    },
    "TimeLimit(clock=3)": (lambda: TimeLimit(1, clock=3), r"TimeLimit\(clock\) must be a function"),
    "Disjunction(3)": (lambda: Disjunction(3), "A stopping criterion must be an instance"),
    "Disjunction(Patience)": (lambda: Disjunction(Patience), r"Patience\(\)"),
    "Disjunction([Patience()])": (lambda: Disjunction([Patience()]), "A stopping criterion must be an instance"),
    "EarlyStopper('soon')": (lambda: EarlyStopper("soon"), "A stopping criterion must be an instance"),
    "EarlyStopper(strict='no')": (lambda: EarlyStopper(strict="no"), r"EarlyStopper\(strict\) must be"),
    **{
        f"done({loss!r})": (lambda loss=loss: EarlyStopper(Patience()).done(loss), "needs a loss that is one number")
        for loss in (None, "1.5", True, [1.0, 2.0], torch.ones(2), {"loss": 1.0}, 1j)
    },
    "stopping_time(Patience, [])": (lambda: stopping_time(Patience, []), r"Patience\(\)"),
    "stopping_time(3, [1.0])": (lambda: stopping_time(3, [1.0]), "A stopping criterion must be an instance"),
    "losses that are a number": (lambda: stopping_time(Patience(), 3), r"stopping_time\(losses\) must be a list"),
    "losses that are a text": (lambda: stopping_time(Patience(), "123"), r"stopping_time\(losses\) must be a list"),
    "losses that are None": (lambda: stopping_time(Patience(), None), r"stopping_time\(losses\) must be a list"),
    "a loss that is a text": (lambda: stopping_time(Patience(), ["1"]), "needs a loss that is one number"),
    "is_training that is a flag": (lambda: stopping_time(Patience(), [1.0], True), r"stopping_time\(is_training\)"),
    "is_training of texts": (
        lambda: stopping_time(Patience(), [1.0], ["no"]),
        r"stopping_time\(is_training\) has 'no'",
    ),
    "is_training of another length": (lambda: stopping_time(Patience(), [1.0], []), "got 1 losses and 0 entries"),
    "PQ without training losses": (lambda: stopping_time(PQ(), [1.0]), "with 0 training losses on record"),
    "a state of others": (
        lambda: EarlyStopper(Patience()).load_state_dict(EarlyStopper(GL()).state_dict()),
        "belongs to the stopping criterion GL",
    ),
    "EarlyStopping()": (lambda: EarlyStopping(), "needs a criterion"),
    "EarlyStopping(None)": (lambda: EarlyStopping(None), "A stopping criterion must be an instance"),
    "EarlyStopping(2.5)": (lambda: EarlyStopping(2.5), "A stopping criterion must be an instance"),
    "EarlyStopping(False)": (lambda: EarlyStopping(False), r"Patience\(n\) must be"),
    "EarlyStopping([3])": (lambda: EarlyStopping([3]), "A stopping criterion must be an instance"),
    "min_delta alone": (lambda: EarlyStopping(3, min_delta=0.1), "belongs to `patience`"),
    "mode='max' of the loss": (lambda: EarlyStopping(3, mode="max"), "without `monitor` looks at the loss"),
    "mode='up'": (lambda: EarlyStopping(3, monitor="A", mode="up"), r"EarlyStopping\(mode\) has an invalid value"),
    "mode=None": (lambda: EarlyStopping(3, monitor="A", mode=None), r"EarlyStopping\(mode\) has an invalid value"),
    "monitor=3": (lambda: EarlyStopping(3, monitor=3), r"EarlyStopping\(monitor\) must be the name"),
    "monitor=''": (lambda: EarlyStopping(3, monitor=""), r"EarlyStopping\(monitor\) must be the name"),
    "monitor=['A']": (lambda: EarlyStopping(3, monitor=["A"]), r"EarlyStopping\(monitor\) must be the name"),
    "restore_best='yes'": (lambda: EarlyStopping(3, restore_best="yes"), r"restore_best\) must be"),
    "restore_best=1": (lambda: EarlyStopping(3, restore_best=1), r"restore_best\) must be"),
    "keep_state=None": (lambda: EarlyStopping(3, keep_state=None), r"keep_state\) must be"),
    "train_phase=instance": (lambda: EarlyStopping(3, train_phase=TrainingPhase()), r"train_phase\) must be"),
    "test_phase='validation'": (lambda: EarlyStopping(3, test_phase="validation"), r"test_phase\) must be"),
    "test_phase=None": (lambda: EarlyStopping(3, test_phase=None), r"test_phase\) must be"),
    "phases that overlap": (lambda: EarlyStopping(3, test_phase=Phase), "overlap"),
    "a metric that nothing records": (
        lambda: toy_learner(EarlyStopping(3, monitor="Accuracy")).fit(1),
        r"EarlyStopping reads `cbstate.metricsepoch`",
    ),
    **{
        f"StopOnNaNLoss({name!r})": (lambda name=name: StopOnNaNLoss(name), "must be the name of a loss")
        for name in (3, None, "", "step.loss", "my loss", True, ["loss"], b"loss")
    },
    "StopOnNaNLoss('los')": (lambda: toy_learner(StopOnNaNLoss("los")).fit(1), "los"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_typed_error_that_names_the_thing_and_the_fix(make, message):
    with pytest.raises(TreadleError, match=message) as caught:
        make()
    assert "Fix: " in str(caught.value)


GOOD = {
    "Disjunction()": (Disjunction, Never()),
    "EarlyStopper()": (lambda: EarlyStopper().done(math.nan), False),
    "no losses": (lambda: stopping_time(Patience(), []), 0),
    "losses of an iterator": (lambda: stopping_time(NumberLimit(2), iter([1.0, 2.0, 3.0])), 2),
    "flags as numbers": (lambda: stopping_time(NumberLimit(1), [1.0, 2.0], [1, 0]), 1),
    "a tensor with one element": (lambda: EarlyStopper(NumberLimit(1)).done(torch.ones(1, 1)), True),
    "a number of torch": (lambda: Patience(torch.tensor(3)), Patience(3)),
    "an infinite threshold": (lambda: stopping_time(Threshold(-math.inf), [1.0, -math.inf]), 0),
    "the sum of nothing": (lambda: sum([], Never()), Never()),
    "a criterion twice": (lambda: Patience(3) + Patience(3), Patience(3)),
    "a number and a criterion": (
        lambda: EarlyStopping(3, InvalidValue()).stopper.criterion,
        Patience(3) + InvalidValue(),
    ),
    "both patiences": (lambda: EarlyStopping(3, patience=2).stopper.criterion, Patience(3) + NoImprovement(2)),
    "phases that do not overlap": (
        lambda: EarlyStopping(3, train_phase=ValidationPhase, test_phase=TrainingPhase).best,
        None,
    ),
}


@pytest.mark.parametrize(("make", "expected"), GOOD.values(), ids=GOOD.keys())
def test_what_is_unusual_and_right_is_accepted(make, expected):
    assert make() == expected
