import pytest
import torch
from treadle.errors import ArgumentTypeError
from treadle_metrics.placement import placement

ONE, TWO = torch.tensor(1), torch.tensor(2)


@pytest.mark.parametrize("device", ["meta", torch.device("meta")])
def test_a_device_takes_both(device):
    yhats, ys = placement(device)(ONE, TWO)
    assert (yhats.device.type, ys.device.type) == ("meta", "meta")


def test_a_device_takes_the_tensors_in_mappings_and_lists():
    yhats, ys = placement("meta")({"scores": ONE}, [TWO, "label"])
    assert (yhats["scores"].device.type, ys[0].device.type, ys[1]) == ("meta", "meta", "label")


def test_a_function_of_both_gives_both():
    assert placement(lambda yhats, ys: (yhats + 1, ys - 1))(1, 2) == (2, 1)


def test_a_function_of_one_is_applied_to_each():
    assert placement(lambda tensors: tensors * 10)(1, 2) == (10, 20)


@pytest.mark.parametrize("device", [3.5, "nowhere"])
def test_anything_else_is_refused(device):
    with pytest.raises(ArgumentTypeError, match='device="cpu"'):
        placement(device)
