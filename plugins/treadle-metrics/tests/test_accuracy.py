import pytest
import torch
from torch.nn.functional import one_hot
from treadle_metrics import MetricError, accuracy

SCORES = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.5, 0.0, 0.1], [0.0, 0.1, 0.2]])


def test_the_share_of_rows_whose_highest_score_is_the_right_class():
    assert accuracy(SCORES, torch.tensor([0, 1, 2, 2])) == 0.75


def test_one_hot_targets_mean_the_same():
    assert accuracy(SCORES, one_hot(torch.tensor([0, 1, 2, 2]), 3)) == 0.75


def test_classes_stand_on_the_second_axis_also_for_pictures():
    pictures = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # one picture of 1 x 2, two classes
    assert accuracy(pictures, torch.tensor([[[0, 0]]])) == 0.5
    assert accuracy(pictures, pictures) == 1.0


def test_the_value_stays_where_the_scores_are(far):
    value = accuracy(far(SCORES), far(torch.tensor([0, 1, 2, 2])))
    assert far.waits == []
    assert value.item() == 0.75


def test_class_numbers_in_a_column_are_refused_with_the_fix():
    with pytest.raises(MetricError, match=r"shape \(4, 1\)\.\nFix: remove its last axis:\n    ys\.squeeze\(1\)"):
        accuracy(SCORES, torch.zeros(4, 1))


def test_another_number_of_rows_is_refused():
    with pytest.raises(
        MetricError,
        match=r"ys must have the shape \(4,\) with class numbers, or \(4, 3\) one-hot; .* \(5,\)\.\nFix: reshape",
    ):
        accuracy(SCORES, torch.zeros(5))


@pytest.mark.parametrize("shape", [(4,), (4, 1), ()])
def test_a_single_score_is_refused_with_the_fix(shape):
    with pytest.raises(
        MetricError, match=r"got yhats of shape .*\n.*\n    Metric\(lambda yhats, ys: \(\(yhats > 0\) == ys"
    ):
        accuracy(torch.zeros(shape), torch.zeros(4))


def test_outputs_that_are_not_a_tensor_are_refused_with_the_fix():
    with pytest.raises(MetricError, match=r"got a dict and a Tensor\.\n.*\n    .*accuracy\(yhats\[\"scores\"\], ys\)"):
        accuracy({"scores": SCORES}, torch.zeros(4))
