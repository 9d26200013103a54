"""All effects of the trainer: the store, the network, the mounted control file, the pod's last words. No torch."""
