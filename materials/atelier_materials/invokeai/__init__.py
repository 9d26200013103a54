"""Installing published models in an InvokeAI server, through its HTTP API."""
