import pytest
import safetensors.torch
import torch
from torch import nn
from treadle import PropDict, toy_learner
from treadle.errors import ArgumentTypeError
from treadle_checkpoint import (
    Checkpointer,
    DamagedCheckpointError,
    MismatchError,
    NoCheckpointError,
    NonFiniteWeightsError,
    NotSaveableError,
    latest,
    load_model,
    save_model,
)


def test_a_model_is_loaded_in_place_and_returned(tmp_path):
    saved, loaded = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    saved(torch.rand(4, 3))
    weight = loaded.weight
    save_model(saved, tmp_path / "deep" / "model.safetensors")
    assert load_model(loaded, tmp_path / "deep" / "model.safetensors") is loaded
    assert loaded.weight is weight
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in saved.state_dict().items())


def test_saving_again_replaces_the_file_and_leaves_nothing_else(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    for value in (1.0, 2.0):
        nn.init.constant_(model.weight, value)
        save_model(model, str(tmp_path / "model"))
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert load_model(nn.Linear(1, 1, bias=False), tmp_path / "model").weight.item() == 2


@pytest.mark.parametrize("kind", [dict, PropDict, nn.ModuleDict])
def test_several_models_go_into_one_file(tmp_path, kind):
    pair = kind({"encoder": nn.Linear(2, 1), "decoder": nn.Linear(1, 2)})
    other = kind({"encoder": nn.Linear(2, 1), "decoder": nn.Linear(1, 2)})
    save_model(pair, tmp_path / "pair")
    assert load_model(other, tmp_path / "pair") is other
    assert torch.equal(other["decoder"].weight, pair["decoder"].weight)


class Tied(nn.Module):
    def __init__(self, tied=True):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        if tied:
            self.out.weight = self.embed.weight


def test_a_tensor_with_two_names_is_stored_once_and_loaded_under_both(tmp_path):
    model = Tied()
    save_model(model, tmp_path / "tied")
    assert list(safetensors.torch.load_file(tmp_path / "tied")) == ["embed.weight"]
    loaded = load_model(Tied(), tmp_path / "tied")
    assert loaded.out.weight is loaded.embed.weight
    assert torch.equal(loaded.out.weight, model.out.weight)
    assert torch.equal(load_model(Tied(tied=False), tmp_path / "tied").out.weight, model.out.weight)


def test_the_name_that_another_program_kept_of_a_shared_tensor_is_enough(tmp_path):
    safetensors.torch.save_file({"out.weight": torch.ones(5, 3)}, tmp_path / "file")
    assert load_model(Tied(), tmp_path / "file").embed.weight.sum() == 15


def test_two_tensors_that_differ_do_not_fit_where_the_model_has_one(tmp_path):
    save_model(Tied(tied=False), tmp_path / "file")
    with pytest.raises(MismatchError, match=r"embed.weight and out.weight differ, and are one tensor in the model"):
        load_model(Tied(), tmp_path / "file")


def test_views_of_one_memory_are_loaded_each_on_its_own(tmp_path):
    def flat():
        model, memory = nn.Linear(2, 2), torch.rand(6)
        model.weight.data, model.bias.data = memory[:4].view(2, 2), memory[4:]
        return model

    model = flat()
    save_model(model, tmp_path / "file")
    loaded = load_model(flat(), tmp_path / "file")
    assert torch.equal(loaded.weight, model.weight)
    assert torch.equal(loaded.bias, model.bias)


class Counted(nn.Module):
    """Has extra state, which is not a tensor."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen = nn.Linear(1, 1), {"count": 0, "mean": torch.zeros(2)}

    def get_extra_state(self):
        return self.seen

    def set_extra_state(self, state):
        self.seen = state


def test_extra_state_that_is_plain_comes_along(tmp_path):
    model = Counted()
    model.seen = {"count": 3, "mean": torch.ones(2)}
    save_model(model, tmp_path / "file")
    assert load_model(Counted(), tmp_path / "file").seen["count"] == 3
    assert load_model(Counted(), tmp_path / "file").seen["mean"].tolist() == [1, 1]


def test_extra_state_that_is_not_plain_is_named(tmp_path):
    model = Counted()
    model.seen = {"log": print}
    with pytest.raises(NotSaveableError, match="cannot hold _extra_state/log"):
        save_model(model, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_weights_are_converted_to_the_type_and_the_device_of_the_model(tmp_path):
    save_model(nn.Linear(2, 1), tmp_path / "file")
    assert load_model(nn.Linear(2, 1).double(), tmp_path / "file").weight.dtype is torch.float64


def test_the_folder_of_a_checkpoint_can_be_loaded(tmp_path):
    learner = toy_learner(Checkpointer(tmp_path))
    learner.fit(1)
    assert load_model(toy_learner().model, latest(tmp_path)).weight.equal(learner.model.weight)
    with pytest.raises(
        NoCheckpointError, match=r"holds several checkpoints.\nFix: choose .*\n    load_model\(model, best\("
    ):
        load_model(toy_learner().model, tmp_path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 1), r"it has the shape|weight has the shape \(1, 3\), in the model \(1, 2\)"),
        (nn.Linear(3, 1, bias=False), r"it has bias, which the model does not have.\nFix: build the model as it was"),
        (
            nn.Sequential(nn.Linear(3, 1)),
            r"it lacks 0.weight; it lacks 0.bias; it has .*weight, which the model does not have",
        ),
        (nn.DataParallel(nn.Linear(3, 1)), r"the model is inside of a wrapper: load into model.module"),
        ({"a": nn.Linear(3, 1)}, r"it lacks a.weight"),
    ],
)
def test_a_model_of_another_make_is_refused_and_left_as_it_was(tmp_path, model, message):
    save_model(nn.Linear(3, 1), tmp_path / "file")
    before = {
        name: value.clone()
        for part in ([model] if isinstance(model, nn.Module) else model.values())
        for name, value in part.state_dict().items()
    }
    with pytest.raises(MismatchError, match=message):
        load_model(model, tmp_path / "file")
    part = model if isinstance(model, nn.Module) else model["a"]
    assert all(torch.equal(value, before[name]) for name, value in part.state_dict().items())


def test_a_file_that_was_saved_from_inside_of_a_wrapper_says_so(tmp_path):
    save_model(nn.DataParallel(nn.Linear(3, 1)), tmp_path / "file")
    with pytest.raises(MismatchError, match=r"saved from inside of a wrapper: .* `module.`"):
        load_model(nn.Linear(3, 1), tmp_path / "file")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_with_weights_that_are_not_finite_is_not_saved(tmp_path, value):
    model = nn.Sequential(nn.Linear(1, 1))
    save_model(model, tmp_path / "file")
    nn.init.constant_(model[0].bias, value)
    with pytest.raises(NonFiniteWeightsError, match=r"0.bias is NaN or infinite, so the model is not saved"):
        save_model({"net": model}, tmp_path / "file")
    assert load_model(nn.Sequential(nn.Linear(1, 1)), tmp_path / "file")[0].bias.isfinite().all()


def test_a_buffer_may_be_infinite_as_a_mask_is_but_not_nan(tmp_path):
    model = nn.Linear(1, 1)
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    save_model(model, tmp_path / "file")
    model.mask[0] = torch.nan
    with pytest.raises(NonFiniteWeightsError, match="mask is NaN"):
        save_model(model, tmp_path / "file")


def test_a_file_that_is_not_there_or_damaged_is_named(tmp_path):
    with pytest.raises(NoCheckpointError, match=r"There is no file .*missing.\nFix: pass a file of save_model"):
        load_model(nn.Linear(1, 1), tmp_path / "missing")
    with pytest.raises(
        FileNotFoundError, match=r"There is no checkpoint at .*\nFix: pass .* that a Checkpointer or save_run made"
    ):
        load_model(nn.Linear(1, 1), tmp_path)
    save_model(nn.Linear(1, 1), tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DamagedCheckpointError, match="file is damaged: its content is not what was written"):
        load_model(nn.Linear(1, 1), tmp_path / "file")


@pytest.mark.parametrize("model", [nn.Linear, None, [nn.Linear(1, 1)], {"a": 1}])
def test_what_is_not_a_model_is_refused(tmp_path, model):
    with pytest.raises(ArgumentTypeError, match=r"A model is a module or a mapping of modules, got"):
        save_model(model, tmp_path / "file")


def test_a_lazy_parameter_has_to_see_a_batch_first(tmp_path):
    with pytest.raises(NotSaveableError, match=r"weight has no shape yet.\nFix: show the model a batch"):
        save_model(nn.LazyLinear(1), tmp_path / "file")


def test_what_is_not_a_path_is_refused():
    for function in (save_model, load_model):
        with pytest.raises(ArgumentTypeError, match=r"path must be a path, got None.\nFix: write, for example:\n    "):
            function(nn.Linear(1, 1), None)
