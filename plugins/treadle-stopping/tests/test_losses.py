import torch
from treadle_stopping.losses import StepLosses


def test_the_mean_is_of_all_losses_and_each_is_unread_once():
    losses = StepLosses(feeds=True)
    losses.record({"loss": 4.0})
    losses.record({"loss": torch.tensor(2.0)})
    assert (losses.unread(), losses.mean) == ([4.0, 2.0], 3.0)
    losses.record({"loss": 0.0})
    assert (losses.unread(), losses.mean) == ([0.0], 2.0)


def test_without_losses_there_is_no_mean():
    losses = StepLosses()
    assert (losses.mean, losses.missing) == (None, False)
    losses.record({"xs": 1})
    assert (losses.mean, losses.missing) == (None, True)


def test_saved_losses_go_on():
    losses = StepLosses(feeds=True)
    losses.record({"loss": 4.0})
    losses.unread()
    losses.record({"loss": 2.0})
    resumed = StepLosses.loaded(losses.state_dict())
    assert (resumed.unread(), resumed.mean, resumed.feeds) == ([2.0], 3.0, True)


def test_each_weighs_what_the_function_says_also_in_saved_ones():
    losses = StepLosses(weigh=lambda step: step["rows"])
    losses.record({"loss": 4.0, "rows": 3})
    resumed = StepLosses.loaded(losses.state_dict(), lambda step: step["rows"])
    for each in (losses, resumed):
        each.record({"loss": torch.tensor(0.0), "rows": 1})
    assert (losses.mean, resumed.mean) == (3.0, 3.0)
