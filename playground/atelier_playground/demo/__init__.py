"""The demo: Atelier's main path on a real cluster, told on the terminal as it happens.

In comes a stage (a cluster of its own, or one that the person names); out come pictures and a published model under
build/demo. It does what a user does, with a user's means: YAML, status, and the store. It knows the contract and the
playground, and neither the operator nor the trainer.
"""
