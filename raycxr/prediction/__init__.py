"""Probabilities from trained networks: averaged over bundles and over views of a film."""
