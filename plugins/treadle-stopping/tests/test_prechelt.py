import math

import pytest
from treadle import ArgumentTypeError, ArgumentValueError
from treadle_stopping import GL, PQ, EarlyStopper, stopping_time

LOSSES = [10.0, 8.0, 9.0, 10.0, 11.0, 12.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 16.0]

# Training losses of each round, and the out-of-sample loss that ends it; then P (for k = 2), GL and GL / P.
ROUNDS = [
    ([9.5, 9.3], 10.0),  # 10.8, 0, 0
    ([9.3, 9.1, 8.9], 8.0),  # 11.2, 0, 0
    ([8.3, 8.4], 9.0),  # 6.02, 12.5, 2.08
    ([9.9, 9.5], 10.0),  # 21.1, 25, 1.19
    ([10.6, 10.4], 11.0),  # 9.62, 37.5, 3.9
    ([8888.0, 11.8, 11.7], 12.0),  # 4.27, 50, 11.7
    ([11.6, 11.4], 12.0),  # 8.77, 50, 5.7
    ([12.2, 12.1], 13.0),  # 4.13, 62.5, 15.1
]


def flat(rounds):
    """The losses in order, and which of them are training losses."""
    fed = [pair for training, loss in rounds for pair in [*((t, True) for t in training), (loss, False)]]
    return [loss for loss, _ in fed], [training for _, training in fed]


@pytest.mark.parametrize(("alpha", "time"), [(12, 3), (20, 4), (40, 6), (90, 11), (110, 12), (1000, 0)])
def test_gl_stops_when_the_loss_is_more_than_alpha_percent_above_its_minimum(alpha, time):
    assert stopping_time(GL(alpha), LOSSES) == time


def test_gl_goes_on_at_exactly_alpha_percent():
    assert stopping_time(GL(12.5), [8.0, 9.0]) == 0


def test_gl_of_a_negative_minimum_is_relative_to_its_size():
    assert stopping_time(GL(24), [-4.0, -3.0]) == 2  # 25 % above
    assert stopping_time(GL(25), [-4.0, -3.0]) == 0
    assert stopping_time(GL(2), [-4.0, -4.0, -5.0]) == 0


def test_gl_above_a_minimum_of_zero_is_infinite_and_at_it_zero():
    assert stopping_time(GL(1000), [0.0, 0.0, 1e-9]) == 3


def test_a_nan_neither_stops_gl_nor_is_its_minimum():
    assert stopping_time(GL(50), [math.nan, 2.0, math.nan, 4.0]) == 4


def test_gl_says_how_far_the_loss_is_above_which_minimum():
    stopper = EarlyStopper(GL(12))
    assert [stopper.done(loss) for loss in (10.0, 8.0, 9.0)] == [False, False, True]
    assert stopper.message == "Stopped early by GL(alpha=12.0): the loss, 9, is 12.5 % above its minimum, 8."


@pytest.mark.parametrize("criterion", [GL, PQ])
def test_alpha_is_a_positive_number(criterion):
    with pytest.raises(ArgumentValueError, match=rf"{criterion.__name__}\(alpha\) must be a number above 0, got 0"):
        criterion(0)
    with pytest.raises(ArgumentValueError, match=rf"{criterion.__name__}\(alpha\) must be a number above 0, got nan"):
        criterion(math.nan)
    with pytest.raises(ArgumentTypeError, match=rf"{criterion.__name__}\(alpha\) must be a number above 0, got None"):
        criterion(None)


@pytest.mark.parametrize(("alpha", "time"), [(2.0, 3), (3.8, 5), (11.6, 6), (15.1, 8), (15.3, 0)])
def test_pq_stops_when_the_loss_rises_faster_than_training_progresses(alpha, time):
    assert stopping_time(PQ(alpha, k=2), *flat(ROUNDS)) == time


def test_pq_looks_at_the_last_k_training_losses():
    rounds = [([9.0, 5.0], 1.0), ([9.0, 5.0, 5.0], 1.0)]
    assert stopping_time(PQ(k=2), *flat(rounds)) == 2  # the last two stand still
    assert stopping_time(PQ(k=3), *flat(rounds)) == 0
    assert stopping_time(PQ(k=math.inf), *flat(rounds)) == 0


def test_pq_looks_at_training_losses_since_the_out_of_sample_loss_before():
    assert stopping_time(PQ(k=5), *flat([([9.0, 5.0], 1.0), ([5.0, 5.0], 1.0)])) == 2


def test_pq_stops_when_training_stands_still():
    stopper = EarlyStopper(PQ(alpha=10, k=2))
    assert [stopper.done(10.0, training) for training in (True, True, False)] == [False, False, True]
    assert stopper.message == (
        "Stopped early by PQ(alpha=10.0, k=2, tol=2.220446049250313e-16): "
        "the last 2 training losses make no progress (P = 0)."
    )


@pytest.mark.parametrize("loss", [0.0, 0.1, 1e-300, 1 / 3])
def test_pq_sees_no_progress_in_equal_training_losses_whatever_they_are(loss):
    assert stopping_time(PQ(k=3), [loss, loss, loss, 1.0], [True, True, True, False]) == 1


def test_pq_says_the_rise_and_the_progress():
    losses, training = flat(ROUNDS[:3])
    stopper = EarlyStopper(PQ(2.0, 2))
    assert [stopper.done(*pair) for pair in zip(losses, training, strict=True)][-1]
    assert stopper.message.endswith("the loss, 9, is 12.5 % above its minimum, 8, and training's progress is 6.024.")


def test_pq_is_not_done_while_it_waits_for_an_out_of_sample_loss():
    stopper = EarlyStopper(PQ(alpha=10, k=2))
    assert stopper.done(10.0, training=True) is False
    assert stopper.done(10.0, training=True) is False
    assert stopper.done(10.0) is True
    assert stopper.done(10.0, training=True) is False


@pytest.mark.parametrize("recorded", [0, 1])
def test_by_itself_pq_needs_two_training_losses_before_an_out_of_sample_loss(recorded):
    with pytest.raises(
        ArgumentValueError, match=rf"PQ\(.*\) got an out-of-sample loss with {recorded} training losses"
    ):
        stopping_time(PQ(), [9.0] * recorded + [3.0], [True] * recorded + [False])


def test_pq_waits_in_a_stopper_that_is_not_strict():
    stopper = EarlyStopper(PQ(), strict=False)
    assert [stopper.done(loss) for loss in (3.0, 9.0, 27.0)] == [False, False, False]
    assert not stopper.done(5.0, training=True)
    assert not stopper.done(81.0)


@pytest.mark.parametrize(("alpha", "stops"), [(0.75, True), (0.85, False)])
def test_a_loss_that_pq_waits_at_counts_for_the_minimum(alpha, stops):
    stopper = EarlyStopper(PQ(alpha), strict=False)
    losses, training = flat([([], 1.0), ([1.0], 5.0), ([2.0, 1.0], 5.0)])  # P = 500, GL = 400
    assert [stopper.done(*pair) for pair in zip(losses, training, strict=True)][-1] is stops


def test_a_second_out_of_sample_loss_in_a_row_is_judged_with_the_training_losses_on_record():
    rounds = [([2.0, 1.0], 1.0), ([], 5.0)]
    assert stopping_time(PQ(alpha=0.75), *flat(rounds)) == 2
    assert stopping_time(PQ(alpha=0.85), *flat(rounds)) == 0


def test_negative_training_losses_stop_pq_at_once():
    assert stopping_time(PQ(), [-1.0, -2.0, 1.0], [True, True, False]) == 1


def test_pq_goes_on_when_its_training_losses_are_not_finite():
    assert stopping_time(PQ(), [1.0, math.nan, 1.0, 9.0], [True, True, False, False]) == 0
    assert stopping_time(PQ(), [1.0, math.inf, 1.0, 9.0], [True, True, False, False]) == 0


def test_k_is_a_whole_number_of_at_least_two_or_infinite():
    assert PQ(k=math.inf).k == math.inf
    with pytest.raises(
        ArgumentValueError, match=r"PQ\(k\), unless it is math.inf, must be a whole number of at least 2, got 1"
    ):
        PQ(k=1)
    with pytest.raises(
        ArgumentTypeError, match=r"PQ\(k\), unless it is math.inf, must be a whole number of at least 2, got 2.5"
    ):
        PQ(k=2.5)
    with pytest.raises(ArgumentTypeError, match="must be a whole number of at least 2, got -inf"):
        PQ(k=-math.inf)


def test_tol_is_a_positive_number():
    with pytest.raises(ArgumentValueError, match=r"PQ\(tol\) must be a number above 0, got 0"):
        PQ(tol=0)
    assert PQ().tol == pytest.approx(2.22e-16, rel=1e-3)
