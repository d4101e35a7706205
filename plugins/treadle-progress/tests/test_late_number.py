import pytest
import torch
from treadle_progress.late_number import LateNumber


@pytest.fixture
def device(monkeypatch):
    """A device whose copies end when its `done` is set."""

    class Device:
        done = False
        copies: list[float] = []

    class Event:
        def __init__(self, device):
            assert device == torch.device("cuda", 0)

        def record(self): ...

        def query(self):
            return Device.done

    class Number(torch.Tensor):
        is_cpu = False
        device = torch.device("cuda", 0)

        def detach(self):
            return self

        def to(self, target, non_blocking):
            assert (target, non_blocking) == ("cpu", True)
            Device.copies.append(self.as_subclass(torch.Tensor).item())
            return self.as_subclass(torch.Tensor)

        def item(self):
            raise AssertionError("the device was waited for")

    Device.copies = []
    Device.number = staticmethod(lambda value: torch.tensor(value).as_subclass(Number))
    monkeypatch.setattr(torch, "Event", Event)
    return Device


def test_a_number_of_the_host_is_there_at_once():
    late = LateNumber()
    late.offer(torch.tensor([2.0], requires_grad=True))
    assert late.value == 2.0
    late.offer(3)
    assert late.value == 3.0


def test_a_number_of_a_device_is_there_when_its_copy_has_ended(device):
    late = LateNumber()
    late.offer(device.number(1.0))
    late.offer(device.number(2.0))
    assert late.value is None
    device.done = True
    late.offer(device.number(3.0))
    assert late.value == 1.0


def test_while_a_copy_is_under_way_no_other_is_started(device):
    late = LateNumber()
    for value in (1.0, 2.0, 3.0):
        late.offer(device.number(value))
    device.done = True
    late.offer(device.number(4.0))
    assert device.copies == [1.0, 4.0]


def test_of_a_device_that_cannot_tell_when_a_copy_ends_there_is_no_number():
    late = LateNumber()
    late.offer(torch.empty((), device="meta"))
    assert late.value is None
