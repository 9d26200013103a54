"""The contract: every word, shape, key, code and reason that Atelier's sides share.

Operator, trainer and studio import this package and never one another. It knows pydantic and the standard library;
it may not know the cluster, the store, torch, the clock or the environment. The CRDs in this folder are generated from
it by `generate.py`.
"""
