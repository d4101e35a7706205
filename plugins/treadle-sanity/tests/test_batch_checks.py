from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from treadle import Learner
from treadle_sanity import SanityCheck, SanityCheckException
from treadle_sanity.lossfns import title


def learner(model, lossfn, *batches, **settings) -> Learner:
    data = settings.pop("data", (list(batches), list(batches)))
    return Learner(model, lossfn, data=data, callbacks=[SanityCheck()], use_default_callbacks=False, **settings)


def refusal(*args, **settings) -> str:
    """What the checks report about a learner."""
    with pytest.raises(SanityCheckException) as caught:
        learner(*args, **settings).fit(1)
    return str(caught.value)


class Fixed(nn.Module):
    """Returns fixed outputs, whatever its inputs."""

    def __init__(self, yhats: torch.Tensor) -> None:
        super().__init__()
        self.yhats = nn.Parameter(yhats)

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        return self.yhats


# Pairs.


@pytest.mark.parametrize(
    ("batch", "kind"),
    [
        ((torch.ones(2, 1),), "a tuple of 1"),
        ([torch.ones(2, 1)] * 3, "a list of 3"),
        (torch.ones(2, 1), "a tensor of shape (2, 1)"),
        ({"xs": 1}, "a dict"),
    ],
)
def test_batches_that_are_not_pairs_are_named(batch, kind):
    text = refusal(nn.Linear(1, 1), functional.mse_loss, batch)
    assert f"1. Batches are pairs: data.training: the first batch is {kind}. data.validation:" in text


def test_data_that_cannot_be_fetched_are_named_with_the_reason():
    class Broken(TensorDataset):
        def __getitem__(self, index):
            raise KeyError("no image 7")

    loader = DataLoader(Broken(torch.ones(4, 1)), batch_size=2)
    text = refusal(nn.Linear(1, 1), functional.mse_loss, data=(loader,))
    assert "Batches are pairs: data.training: the first batch cannot be read, KeyError: 'no image 7'." in text


# The loss.


def test_an_error_of_the_model_is_reported_for_training_and_validation():
    batch = torch.ones(2, 3), torch.ones(2, 1)
    text = refusal(nn.Linear(1, 1), functional.mse_loss, batch)
    assert "lossfn(model(xs), ys) is a number: data.training: RuntimeError: mat1 and mat2" in text
    assert "data.validation: RuntimeError: mat1 and mat2" in text


def test_a_loss_that_is_not_reduced_is_named_by_its_shape():
    batch = torch.ones(2, 1), torch.ones(2, 1)
    text = refusal(nn.Linear(1, 1), nn.MSELoss(reduction="none"), batch)
    assert "LossError: MSELoss returned a tensor of shape (2, 1), and not one number in a tensor." in text


def test_a_loss_that_is_a_plain_number_is_named():
    batch = torch.ones(2, 1), torch.ones(2, 1)
    text = refusal(nn.Linear(1, 1), lambda yhats, ys: 0.5, batch)
    assert "<lambda> returned a float" in text


def test_several_models_under_a_phase_for_one_are_named():
    batch = torch.ones(2, 1), torch.ones(2, 1)
    models = {"generator": nn.Linear(1, 1), "critic": nn.Linear(1, 1)}
    text = refusal(models, functional.mse_loss, batch)
    assert "a step of TrainingPhase applies one model, and the learner has generator, critic" in text


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.layer(a + b)


@pytest.mark.parametrize("xs", [(torch.ones(2, 1),) * 2, {"a": torch.ones(2, 1), "b": torch.ones(2, 1)}])
def test_several_inputs_are_passed_as_a_step_passes_them(xs, log):
    learner(Sum(), functional.mse_loss, (xs, torch.ones(2, 1))).fit(1)
    assert log == []


def test_a_model_that_differentiates_in_training_is_tried_with_gradients(log):
    class Force(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, xs: torch.Tensor) -> torch.Tensor:
            xs = xs.clone().requires_grad_()
            (force,) = torch.autograd.grad((self.layer(xs) ** 2).sum(), xs, create_graph=True)
            return force

    batch = torch.ones(2, 1), torch.ones(2, 1)
    learner(Force(), functional.mse_loss, data=([batch],)).fit(1)
    assert [text.split("\n")[0] for text in log] == [
        "SanityCheck: There are validation data: the learner has no data.validation."
    ]


@pytest.mark.parametrize("layer", [nn.LazyLinear, lambda n: nn.Sequential(nn.Linear(n, n), nn.LazyBatchNorm1d())])
def test_a_model_whose_shapes_are_open_is_not_tried(layer, log):
    xs = torch.ones(2, 3)
    model = layer(3)
    trained = learner(model, functional.mse_loss, (xs, xs), optimizer=torch.optim.SGD)
    trained.fit(1)
    assert "skipped" in log[0]
    assert log[0].endswith("the shapes of the model's parameters are decided by the first batch.")


class Learned(nn.Module):
    """A loss function whose shapes are open."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(1)

    def forward(self, yhats: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
        return self.layer(yhats - ys).abs().mean()


def test_a_loss_function_whose_shapes_are_open_is_not_tried(log):
    xs = torch.ones(2, 3)
    learner(nn.Linear(3, 3), Learned(), (xs, xs), optimizer=torch.optim.SGD).fit(1)
    assert log[0].endswith("the shapes of the model's parameters are decided by the first batch.")


# Ranges.


def test_a_label_beyond_the_classes_is_reported_once():
    batch = torch.ones(2, 1), torch.tensor([0, 3])
    text = refusal(nn.Linear(1, 3), nn.CrossEntropyLoss(), batch)
    found = "the targets go from 0 to 3, and the model has 3 classes, 0 to 2."
    assert f"1. Targets are in the loss function's range: data.training: {found} data.validation: {found}\n" in text
    assert "1 sanity check failed" in text


def test_a_learner_whose_labels_are_in_range_passes(log):
    batch = torch.ones(3, 1), torch.tensor([0, 2, -100])
    learner(nn.Linear(1, 3), functional.cross_entropy, batch).fit(1)
    assert log == []


# Shapes.


def test_outputs_and_targets_that_broadcast_over_the_rows_are_an_error():
    batch = torch.ones(4, 1), torch.ones(4)
    text = refusal(nn.Linear(1, 1), functional.mse_loss, batch)
    assert (
        "1. Outputs and targets have one shape: data.training: mse_loss makes (4, 4) of outputs (4, 1) and "
        "targets (4,), so it compares each output with the targets of all rows."
    ) in text


def test_a_target_that_is_meant_for_all_outputs_is_not(log):
    batch = torch.ones(4, 1), torch.ones(4, 1)
    learner(nn.Linear(1, 1), lambda yhats, ys: ((yhats - ys.mean()) ** 2).mean(), batch).fit(1)
    assert log == []


class Squared(nn.MSELoss):
    """A subclass of a known loss."""


class Squeezed(nn.MSELoss):
    """A subclass that brings outputs and targets into one shape."""

    def forward(self, yhats: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
        return super().forward(yhats.squeeze(-1), ys)


@pytest.mark.parametrize(
    "lossfn",
    [
        nn.L1Loss(),
        Squared(),
        partial(functional.huber_loss, delta=2.0),
        lambda yhats, ys: functional.mse_loss(yhats, ys),
        lambda yhats, ys: functional.smooth_l1_loss(input=yhats, target=ys),
        lambda yhats, ys: ((yhats - ys) ** 2).mean(),
        lambda yhats, ys: (ys.double() - yhats.double()).abs().mean(),
        lambda yhats, ys: torch.where(ys > yhats, ys - yhats, 0).mean(),
        lambda yhats, ys: torch.nn.MSELoss()(yhats, ys) + 1,
    ],
)
@pytest.mark.parametrize(("rows", "outputs"), [(4, (4, 1)), (3, (3, 1, 1))])
def test_a_loss_that_compares_all_rows_is_found_in_any_spelling(lossfn, rows, outputs):
    batch = torch.ones(rows, 1), torch.ones(rows)
    text = refusal(Fixed(torch.ones(outputs)), lossfn, batch)
    assert f"1. Outputs and targets have one shape: data.training: {title(lossfn)} makes (" in text
    assert f" of outputs {outputs} and targets ({rows},), so it compares each output with the targets" in text


@pytest.mark.parametrize(
    "lossfn",
    [
        Squeezed(),
        lambda yhats, ys: functional.mse_loss(yhats[:, 0], ys),
        lambda yhats, ys: ((yhats.flatten() - ys) ** 2).mean(),
        lambda yhats, ys: functional.l1_loss(yhats, ys[:, None]),
        lambda yhats, ys: (yhats.mean() - ys.mean()) ** 2,
        lambda yhats, ys: (yhats - ys[None]).relu().mean(),  # all pairs, on purpose
    ],
)
def test_a_loss_that_brings_them_into_one_shape_is_not_a_fault(lossfn, log):
    learner(nn.Linear(1, 1), lossfn, (torch.ones(4, 1), torch.ones(4))).fit(1)
    assert log == []


# Finite numbers.


@pytest.mark.parametrize(
    ("xs", "ys", "where"),
    [
        (float("nan"), 1.0, "not finite are the inputs and the outputs."),
        (1.0, float("nan"), "not finite are the targets."),
    ],
)
def test_a_loss_that_is_not_finite_is_logged_with_what_made_it_so(xs, ys, where, log):
    batch = torch.full((2, 1), xs), torch.full((2, 1), ys)
    learner(nn.Linear(1, 1), functional.mse_loss, batch).fit(1)
    assert f"The first loss is finite: data.training: the loss of the first batch is nan; {where}" in log[0]


def test_missing_values_that_the_model_fills_are_not(log):
    class Fill(nn.Linear):
        def forward(self, xs: torch.Tensor) -> torch.Tensor:
            return super().forward(xs.nan_to_num())

    learner(Fill(1, 1), functional.mse_loss, (torch.full((2, 1), float("nan")), torch.ones(2, 1))).fit(1)
    assert log == []


# Probabilities.


@pytest.mark.parametrize("lossfn", [nn.CrossEntropyLoss(), functional.cross_entropy, functional.nll_loss])
def test_a_softmax_before_a_cross_entropy_is_logged(lossfn, log):
    model = nn.Sequential(nn.Linear(1, 3), nn.Softmax(dim=1))
    learner(model, lossfn, (torch.ones(2, 1), torch.tensor([0, 2]))).fit(1)
    assert "A cross-entropy gets logits: data.training: the outputs are probabilities, each row's sum is 1" in log[0]


@pytest.mark.parametrize("yhats", [[[0.0, 0.0]], [[2.0, -1.0]], [[0.5, 0.6]]])
def test_other_outputs_are_not(yhats, log):
    learner(Fixed(torch.tensor(yhats)), nn.CrossEntropyLoss(), (torch.ones(1, 1), torch.tensor([0]))).fit(1)
    assert log == []


# The last batch.


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))


def loader(rows: int, **settings) -> DataLoader:
    xs = torch.linspace(0, 1, rows).reshape(rows, 1)
    return DataLoader(TensorDataset(xs, xs), batch_size=4, **settings)


def test_a_last_batch_of_one_row_before_a_batch_norm_is_an_error():
    text = refusal(normed(), functional.mse_loss, data=(loader(9), loader(8)))
    assert "1. The last batch is large enough: data.training: 9 rows in batches of 4 leave one for the last." in text
    assert "Expected more than 1 value per channel when training" in text


@pytest.mark.parametrize("data", [loader(8), loader(10), loader(9, drop_last=True)])
def test_other_last_batches_are_not(data, log):
    learner(normed(), functional.mse_loss, data=(data, loader(8))).fit(1)
    assert log == []


def test_a_last_batch_of_one_row_is_fine_without_a_batch_norm(log):
    learner(nn.Linear(1, 1), functional.mse_loss, data=(loader(9), loader(9))).fit(1)
    assert log == []


# Streams.


def test_a_stream_without_a_length_keeps_its_first_batch(log):
    class Stream(IterableDataset):
        left = 3

        def __iter__(self):
            while self.left:
                self.left -= 1
                yield torch.ones(1), torch.ones(1)

    stream = DataLoader(Stream(), batch_size=1)
    result = learner(nn.Linear(1, 1), functional.mse_loss, data=(stream, [(torch.ones(1, 1),) * 2])).fit(1)
    assert result.steps == 3
    assert log[0].endswith(
        "data.training has no length, so it may be a stream that would lose its first batch; "
        "define DataLoader.__len__, or pass a list or a DataLoader."
    )
