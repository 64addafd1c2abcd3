"""The command line ``poptrio``: one module for each command or group of commands."""

from poptrio.cli.app import app, main

__all__ = ["app", "main"]
