"""Rules by which a pair of callbacks is ordered: `run_after`, resolutions, the user's own, and rings of wrappers."""
