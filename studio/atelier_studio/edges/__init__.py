"""The studio's effects: the cluster, as the person who runs the command."""
