"""The operator's effects: the API server, the trainers' pods, the Lease, the clock, and what it serves to be watched.

Each edge is narrow, raises only `atelier_operator.errors`, and knows neither plan nor handlers.
"""
