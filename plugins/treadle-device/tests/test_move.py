import pytest
import torch
from treadle.errors import ArgumentValueError
from treadle_device.move import Move, as_device, not_here

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")


def test_tensors_and_modules_are_moved() -> None:
    move = Move(torch.device("meta"))
    assert move(torch.ones(2)).is_meta
    assert move(torch.nn.Linear(1, 1)).weight.is_meta


def test_what_is_there_already_is_not_copied() -> None:
    tensor = torch.ones(2)
    assert Move(torch.device("cpu"))(tensor) is tensor


def test_a_name_that_torch_does_not_know_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match=r"no device called 'gpu'\. Use 'cuda', 'cuda:1', 'mps' or 'cpu'"):
        as_device("gpu")


@no_cuda
def test_a_device_that_is_not_here_is_refused_before_anything_is_moved() -> None:
    with pytest.raises(ArgumentValueError, match=r"'cuda:1' cannot be used here: torch finds no CUDA.*ToGPU\(\)"):
        Move(torch.device("cuda:1"))


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="says what happens without MPS")
def test_mps_is_refused_where_it_is_not() -> None:
    assert not_here(torch.device("mps")) == "torch finds no MPS device"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_cuda_device_of_too_high_a_number_is_refused() -> None:
    assert "counted from 0" in str(not_here(torch.device("cuda:99")))
    assert not_here(torch.device("cuda")) is None
