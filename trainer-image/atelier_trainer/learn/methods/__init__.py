"""The methods: what is trained in a base model, and what is written to its file. One file a method."""
