"""Fixtures that every test may ask for; they live in tests/support, a module a room."""

pytest_plugins = ["cluster", "journey"]
