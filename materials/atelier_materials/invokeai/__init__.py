"""Installs published models in an InvokeAI server."""
