"""The options of torch's engine."""

import pytest
from treadle.errors import ArgumentTypeError
from treadle_distributed import DDP


def test_options_of_the_engine_are_passed_on() -> None:
    assert DDP(static_graph=True, bucket_cap_mb=5).options == {"static_graph": True, "bucket_cap_mb": 5}


@pytest.mark.parametrize("name", ["static_graphs", "device_ids", "process_group"])
def test_an_option_that_it_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"DDP has no option '{name}'"):
        DDP(**{name: True})


@pytest.mark.parametrize("name", ["broadcast_buffers", "find_unused_parameters"])
def test_whether_is_true_or_false(name: str) -> None:
    with pytest.raises(ArgumentTypeError, match=rf"DDP\({name}\)"):
        DDP(**{name: 1})  # type: ignore[arg-type]
