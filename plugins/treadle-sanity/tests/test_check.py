import pytest
from treadle.errors import ArgumentTypeError
from treadle_sanity import Check


def test_a_check_without_a_function_is_refused():
    with pytest.raises(
        ArgumentTypeError, match=r"Check\(fn\) must be a function, got True.\nFix: .*\n    Check\(lambda"
    ):
        Check(True, "name", True, "message")


@pytest.mark.parametrize("field", ["name", "message"])
def test_a_check_without_texts_is_refused(field):
    texts = {"name": "It holds", "message": "Do this.", field: None}
    with pytest.raises(
        ArgumentTypeError, match=rf"Check\({field}\) must be an instance of str, got None.\nFix: .*\n    Check\(lambda"
    ):
        Check(bool, throw_error=True, **texts)
