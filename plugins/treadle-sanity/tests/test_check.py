import pytest
from treadle.errors import ArgumentTypeError
from treadle_sanity import Check


def test_a_check_without_a_function_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"A Check needs a function of the learner, got True: Check\(lambda"):
        Check(True, "name", True, "message")


@pytest.mark.parametrize("field", ["name", "message"])
def test_a_check_whose_texts_are_none_is_refused(field):
    texts = {"name": "It holds", "message": "Do this.", field: None}
    with pytest.raises(ArgumentTypeError, match=f"A Check's {field} is a text, got None"):
        Check(bool, throw_error=True, **texts)
