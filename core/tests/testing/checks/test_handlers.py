from treadle import Callback


def test_a_handler_with_an_argument_that_its_event_has_not_is_found(failed):
    class Wrong(Callback):
        def on_step_end(self, learner, batch): ...

    assert "Fix: take any of the hook's arguments" in failed(Wrong)["handlers"]


def test_a_callback_without_a_handler_is_found(failed):
    class Nothing(Callback):
        pass

    assert failed(Nothing)["handlers"] == (
        "It has no handler, so it does nothing.\nFix: define one:\n    def on_step_end(self, learner): ..."
    )
