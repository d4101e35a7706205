import pytest
import torch
from treadle.state.numbers.device_number import DeviceNumber


@pytest.fixture
def device(monkeypatch):
    """A device whose copies end when its `done` is set."""

    class Device:
        done = False
        waits = 0

    class Event:
        def __init__(self, device):
            assert device == torch.device("xpu", 0)

        def record(self): ...

        def query(self):
            return Device.done

        def synchronize(self):
            Device.done = True
            Device.waits += 1

    class Number(torch.Tensor):
        is_cpu = False
        device = torch.device("xpu", 0)

        def detach(self):
            return self

        def to(self, target, non_blocking):
            assert (target, non_blocking) == ("cpu", True)
            return self.as_subclass(torch.Tensor).clone()

        def item(self):
            raise AssertionError("the device was waited for")

        tolist = item

    Device.number = staticmethod(lambda *values: torch.tensor(values).as_subclass(Number))
    monkeypatch.setattr(torch, "Event", Event)
    return Device


@pytest.mark.parametrize("value", [0.5, torch.tensor(0.5), torch.tensor([[0.5]], dtype=torch.bfloat16)])
def test_a_number_on_the_host_is_there_at_once(value) -> None:
    number = DeviceNumber(value)
    assert (number.arrived, number.value, number.values) == (True, 0.5, [0.5])


def test_a_parameter_is_a_number() -> None:
    assert DeviceNumber(torch.tensor(2.0, requires_grad=True)).value == 2


def test_a_number_is_what_it_was_at_the_start() -> None:
    loss = torch.tensor(0.5)
    number = DeviceNumber(loss)
    loss += 1
    assert number.value == 0.5


@pytest.mark.parametrize("value", ["much", None])
def test_what_is_not_a_number_is_refused(value) -> None:
    with pytest.raises((TypeError, ValueError)):
        DeviceNumber(value)


def test_several_numbers_have_no_single_value() -> None:
    block = DeviceNumber(torch.tensor([1.0, 2.0]))
    assert block.values == [1, 2]
    with pytest.raises(ValueError, match="unpack"):
        _ = block.value


def test_a_number_of_a_device_arrives_when_its_copy_has_ended(device) -> None:
    number = DeviceNumber(device.number(1.0))
    assert not number.arrived
    device.done = True
    assert number.arrived
    assert number.value == 1


def test_reading_waits_for_the_copy_once(device) -> None:
    block = DeviceNumber(device.number(1.0, 2.0))
    assert (block.values, block.values, block.arrived, device.waits) == ([1, 2], [1, 2], True, 1)


def test_of_a_device_without_events_it_is_not_known_whether_the_copy_has_ended() -> None:
    assert not DeviceNumber(torch.empty((), device="meta")).arrived


def test_on_a_device_without_events_a_number_is_what_it_was_at_the_start() -> None:
    class Other(torch.Tensor):
        is_cpu = False

    loss = torch.tensor(0.5).as_subclass(Other)
    number = DeviceNumber(loss)
    loss += 1
    assert (number.arrived, number.value, number.arrived) == (False, 0.5, True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_on_cuda_the_copy_holds_the_value_at_its_start(dtype) -> None:
    loss = torch.tensor([0.5], dtype=dtype, device="cuda", requires_grad=True)
    number = DeviceNumber(loss)
    with torch.no_grad():
        loss += 1
    assert number.value == 0.5
    assert DeviceNumber(loss).value == 1.5
