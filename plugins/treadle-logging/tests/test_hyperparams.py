import pytest
import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import CSVBackend, HyperParams, log_to


def test_numbers_texts_and_booleans_are_kept() -> None:
    data = {"lr": 0.1, "layers": 3, "optimizer": "sgd", "amp": True}
    assert HyperParams(data).data == data


def test_one_element_counts_as_what_it_holds() -> None:
    assert HyperParams({"lr": torch.tensor(0.5), "n": torch.ones(1).numpy().sum()}).data == {"lr": 0.5, "n": 1.0}


def test_later_changes_of_the_mapping_do_not_show() -> None:
    data = {"lr": 0.1}
    logged = HyperParams(data)
    data["lr"] = 0.2
    assert logged.data == {"lr": 0.1}


@pytest.mark.parametrize("data", [None, 3, "lr=3", [("lr", 3)]])
def test_they_are_a_mapping(data) -> None:
    with pytest.raises(ArgumentTypeError, match=r"HyperParams\(data\) must be a mapping of names to values, got a "):
        HyperParams(data)


@pytest.mark.parametrize("value", [None, [1, 2], {"a": 1}, torch.ones(2), print])
def test_other_values_are_refused_by_their_name(value) -> None:
    with pytest.raises(ArgumentTypeError, match=r"and 'lr' is a .*\n.*\n    HyperParams\(\{'lr': str\(value\)\}\)"):
        HyperParams({"lr": value})


def test_names_are_texts_that_a_file_can_hold() -> None:
    with pytest.raises(ArgumentTypeError, match=r"HyperParams\(data\) must be an instance of str, got 3"):
        HyperParams({3: 0.1})
    with pytest.raises(ArgumentValueError, match="has a character that no file can hold"):
        HyperParams({"name": "\ud800"})


def test_a_csv_file_has_a_row_for_each(tmp_path) -> None:
    with CSVBackend(tmp_path / "log.csv") as backend:
        log_to(backend, HyperParams({"lr": 0.1, "optimizer": "sgd"}), "HParams", 2, group="Run")
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows == ["tag,iteration,value", "Run/HParams/lr,2,0.1", "Run/HParams/optimizer,2,sgd"]
