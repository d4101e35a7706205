from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from treadle_sanity.lossfns import CROSS_ENTROPY, option, out_of_range, title


def test_options_come_from_the_module_or_from_what_was_applied():
    assert option(nn.CrossEntropyLoss(ignore_index=3), "ignore_index", -100) == 3
    assert (
        option(partial(partial(functional.cross_entropy, ignore_index=4), reduction="sum"), "ignore_index", -100) == 4
    )
    assert option(functional.cross_entropy, "ignore_index", -100) == -100


def test_titles_are_the_names_that_a_user_knows():
    assert title(nn.MSELoss()) == "MSELoss"
    assert title(partial(functional.mse_loss)) == "mse_loss"
    assert len(CROSS_ENTROPY) == 4


# Which targets and outputs they cannot take.


LOGITS = torch.zeros(2, 3)


@pytest.mark.parametrize("labels", [[0, 2], [0, -100]])
@pytest.mark.parametrize("lossfn", [nn.CrossEntropyLoss(), nn.NLLLoss(), functional.cross_entropy, functional.nll_loss])
def test_labels_among_the_classes_and_those_to_ignore_are_in_range(lossfn, labels):
    assert out_of_range(LOGITS, torch.tensor(labels), lossfn) is None


def test_a_label_below_zero_is_out_of_range():
    assert out_of_range(LOGITS, torch.tensor([-1, 0]), nn.CrossEntropyLoss()) == (
        "the targets go from -1 to 0, and the model has 3 classes, 0 to 2."
    )


def test_labels_that_were_counted_from_one_are_guessed():
    assert out_of_range(LOGITS, torch.tensor([1, 3]), nn.CrossEntropyLoss()) == (
        "the targets go from 1 to 3, and the model has 3 classes, 0 to 2. They seem to be counted from 1: take ys - 1."
    )


@pytest.mark.parametrize(
    "lossfn",
    [nn.CrossEntropyLoss(ignore_index=9), partial(functional.cross_entropy, ignore_index=9)],
)
def test_the_number_to_ignore_is_the_loss_functions(lossfn):
    assert out_of_range(LOGITS, torch.tensor([0, 9]), lossfn) is None
    assert out_of_range(LOGITS, torch.tensor([0, -100]), lossfn) is not None


def test_the_classes_of_an_image_are_in_its_second_dimension():
    logits = torch.zeros(2, 3, 5, 5)
    assert out_of_range(logits, torch.full((2, 5, 5), 2), nn.CrossEntropyLoss()) is None
    assert out_of_range(logits, torch.full((2, 5, 5), 3), nn.CrossEntropyLoss()) is not None


def test_probabilities_as_targets_have_no_range():
    assert out_of_range(LOGITS, torch.full((2, 3), 7.0), nn.CrossEntropyLoss()) is None


def test_targets_of_a_binary_cross_entropy_go_from_zero_to_one():
    lossfn = nn.BCEWithLogitsLoss()
    assert out_of_range(torch.zeros(2, 1), torch.tensor([[0.0], [1.0]]), lossfn) is None
    assert out_of_range(torch.zeros(2, 1), torch.tensor([[-1.0], [1.0]]), lossfn) == (
        "the targets go from -1 to 1, and BCEWithLogitsLoss takes those from 0 to 1."
    )


def test_outputs_of_a_binary_cross_entropy_without_logits_do_too():
    assert out_of_range(torch.tensor([-0.5, 1.5]), torch.tensor([0.0, 1.0]), functional.binary_cross_entropy) == (
        "the outputs go from -0.5 to 1.5, and binary_cross_entropy takes probabilities, 0 to 1."
    )


def test_of_an_unknown_loss_function_nothing_is_known():
    assert out_of_range(LOGITS, torch.tensor([0, 9]), lambda yhats, ys: yhats.sum()) is None


def test_a_subclass_of_a_loss_function_is_unknown():
    class Shifted(nn.CrossEntropyLoss):
        def forward(self, yhats: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
            return super().forward(yhats, ys - 1)

    assert out_of_range(LOGITS, torch.tensor([1, 3]), Shifted()) is None
