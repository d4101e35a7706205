import pytest
import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import File, Graph, Histogram, Loggable, Text, Value


@pytest.mark.parametrize("data", [2, 2.0, torch.tensor(2.0), torch.tensor([[2]]), torch.ones(1).numpy() * 2, True + 1])
def test_a_value_is_one_number_however_it_comes(data: object) -> None:
    assert Value(data).number == 2.0


def test_a_value_drops_the_gradient() -> None:
    loss = torch.tensor(3.0, requires_grad=True) * 2
    assert Value(loss).data.requires_grad is False


def test_values_are_equal_if_their_numbers_are() -> None:
    assert Value(1.5) == Value(torch.tensor(1.5))
    assert Value(1.5) != Value(2.5)


@pytest.mark.parametrize("data", ["2.0", b"2", 1j, None, [1, 2], torch.tensor(1j)])
def test_a_value_refuses_what_is_not_a_real_number(data: object) -> None:
    with pytest.raises(ArgumentTypeError, match=r"Value\(data\) must be one real number, got"):
        Value(data)


def test_a_value_of_many_numbers_says_to_reduce_them() -> None:
    with pytest.raises(ArgumentTypeError, match=r"Tensor of shape \(2, 3\).*\nFix: .*\n    Value\(data\.mean\(\)\)"):
        Value(torch.zeros(2, 3))


def test_a_text_is_a_str() -> None:
    assert Text("hello").data == "hello"
    with pytest.raises(
        ArgumentTypeError, match=r"Text\(data\) must be an instance of str, got 3\.\nFix: .*\n    Text\(str\(data\)\)"
    ):
        Text(3)  # type: ignore[arg-type]


def test_a_histogram_gives_its_numbers_as_one_row_of_floats() -> None:
    values = Histogram(torch.arange(4).reshape(2, 2)).values
    assert values.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert values.dtype == torch.float32


def test_a_histogram_keeps_double_precision() -> None:
    assert Histogram(torch.ones(2, dtype=torch.float64)).values.dtype == torch.float64


def test_a_histogram_needs_numbers() -> None:
    with pytest.raises(ArgumentValueError, match=r"Histogram\(data\) has no numbers\.\nFix: leave it out"):
        Histogram([])
    with pytest.raises(
        ArgumentTypeError, match=r"Histogram\(data\) must be a tensor or array of real numbers, got str 'abc'"
    ):
        Histogram("abc")
    with pytest.raises(ArgumentTypeError, match=r"got Tensor of shape \(2,\) and torch\.complex64"):
        Histogram(torch.zeros(2, dtype=torch.complex64))


def test_a_graph_needs_a_module_and_tensors() -> None:
    net = torch.nn.Linear(1, 1)
    assert Graph(net, torch.ones(1, 1)).model is net
    with pytest.raises(
        ArgumentTypeError, match=r"Graph\(model\) must be an instance of Module, got 3\.\nFix: .*\n    Graph\(learner"
    ):
        Graph(3, torch.ones(1))  # type: ignore[arg-type]
    with pytest.raises(
        ArgumentTypeError, match=r"a tensor or a tuple of tensors, got a list\.\nFix: .*\n    Graph\(model, learner"
    ):
        Graph(net, [1.0])  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="got a tuple"):
        Graph(net, ())


def test_a_file_without_content_is_read(tmp_path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("lr = 0.1")
    assert File(path).data == b"lr = 0.1"
    assert File(path).text == "lr = 0.1"


def test_a_file_that_is_not_text_has_none() -> None:
    assert File("weights.bin", b"\xff\xfe\x00").text is None


def test_a_file_needs_a_path_and_bytes_or_str() -> None:
    with pytest.raises(ArgumentTypeError, match=r"File\(file\) must be a path, got 3"):
        File(3, "text")  # type: ignore[arg-type]
    with pytest.raises(
        ArgumentTypeError, match=r"bytes or str, got a list\.\nFix: .*\n    File\('a.txt', bytes\(data\)\)"
    ):
        File("a.txt", [1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize("loggable", [Value(1), Text("a"), Histogram([1]), File("a", "b")])
def test_loggables_are_frozen(loggable: Loggable) -> None:
    with pytest.raises(AttributeError):
        loggable.data = 3  # type: ignore[attr-defined]


def test_the_bins_of_a_histogram_count_every_finite_number() -> None:
    counts, edges = Histogram([-1.0, 0.0, 0.0, 3.0, float("inf"), float("nan")]).bins(4)
    assert (counts, edges) == ([1, 2, 0, 1], [-1.0, 0.0, 1.0, 2.0, 3.0])


def test_equal_numbers_are_in_one_bin() -> None:
    counts, edges = Histogram([2.0, 2.0]).bins(2)
    assert sum(counts) == 2
    assert edges[0] <= 2.0 <= edges[-1]


def test_without_a_finite_number_every_bin_is_empty() -> None:
    assert Histogram([float("nan")]).bins(2) == ([0, 0], [0.0, 0.5, 1.0])
