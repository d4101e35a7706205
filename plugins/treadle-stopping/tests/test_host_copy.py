import pytest
import torch
from treadle_stopping.host_copy import HostCopy


def test_on_the_host_there_is_nothing_to_copy():
    copy, loss = HostCopy(), torch.tensor(0.5)
    copy.start(loss)
    assert copy.read(loss) == 0.5


def test_a_tensor_that_was_not_started_is_read_all_the_same():
    copy = HostCopy()
    copy.start(torch.tensor(1.0))
    assert copy.read(torch.tensor([0.25])) == 0.25


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_on_cuda_the_copy_holds_the_value_at_its_start(dtype):
    copy, loss = HostCopy(), torch.tensor([0.5], dtype=dtype, device="cuda", requires_grad=True)
    for _ in range(2):
        copy.start(loss)
        assert copy.read(loss) == 0.5
