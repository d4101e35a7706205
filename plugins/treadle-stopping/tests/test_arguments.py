import numpy
import pytest
from treadle import ArgumentTypeError
from treadle_stopping.arguments import positive, real, whole


def test_numbers_of_other_libraries_are_numbers():
    assert whole(numpy.int64(3), "n") == 3
    assert real(numpy.float32(0.5), "value") == 0.5


@pytest.mark.parametrize("given", [1 + 2j, "1", None, [1]])
def test_what_is_no_number_is_refused(given):
    with pytest.raises(ArgumentTypeError, match="alpha needs a number, got"):
        positive(given, "alpha")
