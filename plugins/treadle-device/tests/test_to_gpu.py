import pytest
import torch
from treadle import toy_learner
from treadle_device import ToGPU
from treadle_device.to_gpu import best_device


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_cuda_comes_before_mps_before_the_cpu(cuda: bool, mps: bool, expected: str) -> None:
    assert best_device(cuda=cuda, mps=mps) == torch.device(expected)


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="tests what happens without a GPU"
)
def test_without_a_gpu_it_warns_and_trains_on_the_cpu(warnings) -> None:
    learner = toy_learner(ToGPU())
    assert warnings == ["ToGPU finds neither CUDA nor MPS on this machine, so training runs on the CPU."]
    assert learner.fit(1).steps == 16
    assert learner.step.xs.is_cpu


@pytest.mark.skipif(not (torch.cuda.is_available() or torch.backends.mps.is_available()), reason="needs a GPU")
def test_with_a_gpu_everything_is_on_it(warnings) -> None:
    mover = ToGPU()
    learner = toy_learner(mover, optimizer=lambda parameters: torch.optim.Adam(parameters))
    learner.fit(2)
    assert warnings == []
    places = {
        learner.model.weight.device.type,
        learner.step.xs.device.type,
        learner.step.loss.device.type,
        learner.optimizer.state[learner.model.weight]["exp_avg"].device.type,
    }
    assert places == {mover.device.type}
