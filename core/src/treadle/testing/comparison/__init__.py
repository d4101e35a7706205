"""What of a learner is compared: its state before and after a handler, and what the handler looks at."""
