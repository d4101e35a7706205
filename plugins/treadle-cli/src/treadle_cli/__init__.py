"""The command `treadle`: find, inspect, check and start plugins of Treadle."""

from treadle_cli.app import main

__all__ = ["main"]
