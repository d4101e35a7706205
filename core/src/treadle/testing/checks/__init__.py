"""The checks of `check_callback`, a file for each."""
