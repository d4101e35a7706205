from collections import OrderedDict, namedtuple

import pytest
import torch
from treadle import DataError
from treadle.loop.evaluation.outputs import Outputs

Pair = namedtuple("Pair", "first second")


def gathered(*outputs):
    collected = Outputs()
    for output in outputs:
        collected.add(output)
    return collected.concatenated()


def ones(*shape):
    return torch.ones(*shape)


def test_tensors_are_concatenated_in_order_along_the_first_axis() -> None:
    assert gathered(torch.tensor([1, 2]), torch.tensor([3])).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("output", "kind"),
    [((ones(2, 3), ones(2)), tuple), ([ones(2, 3), ones(2)], list), (Pair(ones(2, 3), ones(2)), Pair)],
)
def test_a_tuple_and_its_like_stay_what_they_are(output, kind) -> None:
    made = gathered(output, output, output)
    assert type(made) is kind
    assert [tuple(part.shape) for part in made] == [(6, 3), (6,)]


def test_a_mapping_becomes_a_dict_and_may_hold_others_and_none() -> None:
    output = OrderedDict(logits=ones(2, 3), hidden=(ones(2, 1), None))
    made = gathered(output, output)
    assert type(made) is dict
    assert made["logits"].shape == (4, 3)
    assert made["hidden"][0].shape == (4, 1)
    assert made["hidden"][1] is None


def test_a_tensor_without_axes_gives_one_value_for_each_batch() -> None:
    assert gathered({"loss": torch.tensor(1.0)}, {"loss": torch.tensor(2.0)})["loss"].tolist() == [1, 2]


def test_an_output_that_is_overwritten_later_is_gathered_as_it_was() -> None:
    buffer, collected = ones(2), Outputs()
    for value in range(40):
        collected.add(buffer.fill_(value))
    assert collected.concatenated().tolist() == [value for value in range(40) for _ in range(2)]


def test_outputs_that_need_gradients_are_detached() -> None:
    assert not gathered(ones(2).requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([{"a": ones(2)}, {"b": ones(2)}], r"The output of batch 2 is a mapping of 'b', and those before were a map"),
        ([ones(2), None], r"The output of batch 2 is None, and those before were a tensor"),
        ([ones(2), (ones(2),)], r"The output of batch 2 is a tuple of 1, and those before were a tensor"),
        ([ones(2, 3), ones(2, 4)], r"batch 2 has the shape \(2, 4\), and that of the first has \(2, 3\)"),
        ([ones(2, 3), ones(2)], r"batch 2 has the shape \(2,\), and that of the first has \(2, 3\)"),
        (["text"], r"The output of the model is a str, and `predict` gathers tensors"),
        ([{"cache": [object()]}], r"The output of the model has \['cache'\]\[0\], which is a object, and `predict`"),
    ],
)
def test_outputs_that_cannot_be_concatenated_are_refused(outputs, message) -> None:
    with pytest.raises(DataError, match=message):
        gathered(*outputs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_outputs_of_a_gpu_are_gathered_on_the_cpu_without_a_synchronisation_in_a_step() -> None:
    buffer, collected = torch.zeros(3, device="cuda"), Outputs()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for value in range(40):
            collected.add((buffer.fill_(value), buffer.sum()))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    rows, sums = collected.concatenated()
    assert rows.is_cpu
    assert rows.tolist() == [value for value in range(40) for _ in range(3)]
    assert sums.tolist() == [3.0 * value for value in range(40)]
