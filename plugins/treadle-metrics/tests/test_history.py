from treadle_metrics import History


def test_a_history_starts_at_nothing():
    assert History() == History(epochs=0, steps=0, steps_epoch=0)


def test_a_history_comes_back_from_its_state():
    resumed = History()
    resumed.load_state_dict(History(epochs=2, steps=35, steps_epoch=3).state_dict())
    assert resumed == History(epochs=2, steps=35, steps_epoch=3)
