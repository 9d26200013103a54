"""Fixtures that every test may ask for; they live in tests/support, a module a room."""

import signal

from hypothesis import settings

pytest_plugins = ["cluster", "installed", "journey", "s3_servers"]

# No deadline: how long an example takes depends on who else uses the machine.
settings.register_profile("atelier", deadline=None)
settings.load_profile("atelier")

# A shell that runs the tests in the background makes them deaf to Ctrl-C, and every process they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
