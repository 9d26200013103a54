"""A whole Kubernetes cluster on one machine, for the demo, the tests and the benchmarks.

In comes a checkout of Atelier and its virtual environment; out goes a real API server, scheduler and controller
manager, a node that runs pods as sandboxed processes, and an S3 server, all on loopback and all gone when their
owner is gone. Nothing here is part of the product: neither the operator nor the trainer may import it, and it
reaches them only as a user's cluster would, through images, volumes and the API.
"""
