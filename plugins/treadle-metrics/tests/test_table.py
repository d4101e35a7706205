from treadle import TrainingPhase, ValidationPhase, toy_learner
from treadle_metrics import Metrics, Recorder, SeriesByPhase


def test_a_csv_file_has_a_column_for_each_metric_and_a_row_for_each_epoch_of_each_phase(tmp_path):
    metrics = SeriesByPhase("epoch", ["Loss", "Accuracy"])
    metrics.of(TrainingPhase()).of("Loss").push(1, 0.1)
    metrics.of(ValidationPhase()).of("Loss").push(1, 1 / 3)
    metrics.of(ValidationPhase()).of("Accuracy").push(1, 0.5)
    metrics.to_csv(tmp_path / "runs" / "history.csv")
    assert (tmp_path / "runs" / "history.csv").read_text() == (
        "epoch,phase,Loss,Accuracy\n1,TrainingPhase,0.1,\n1,ValidationPhase,0.3333333333333333,0.5\n"
    )


def test_a_csv_file_is_replaced(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("something much longer than a header alone")
    SeriesByPhase("epoch", ["Loss"]).to_csv(str(path))
    assert path.read_text() == "epoch,phase,Loss\n"


def test_steps_are_a_table_as_well():
    learner = toy_learner(Recorder(), Metrics(), nbatches=2)
    learner.fit(1)
    rows = learner.cbstate.metricsstep.rows()
    assert [(row["step"], row["phase"]) for row in rows] == [
        (1, "TrainingPhase"),
        (1, "ValidationPhase"),
        (2, "TrainingPhase"),
        (2, "ValidationPhase"),
    ]
    assert rows[0]["Loss"] == learner.cbstate.metricsstep[TrainingPhase()]["Loss"].values[0]
