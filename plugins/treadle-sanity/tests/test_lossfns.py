from functools import partial

from torch import nn
from torch.nn import functional
from treadle_sanity.lossfns import CROSS_ENTROPY, option, title


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
