"""A namespace's store: one protocol, a bucket and a volume that speak it, and the patience to wait for either."""
