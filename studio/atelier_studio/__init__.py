"""The studio: what people touch. `kubectl atelier` does nothing that YAML cannot, with the person's own rights.

`cli/` reads words and prints tables, `actions/` decide what a verb changes and are pure, `edges/` talk to the cluster.
The studio imports the contract and neither the operator nor the trainer.
"""
