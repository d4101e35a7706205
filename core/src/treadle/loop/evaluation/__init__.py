"""Evaluation and prediction: epochs that are not a part of the run, and what they collect."""
