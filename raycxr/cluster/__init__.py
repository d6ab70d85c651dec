"""Ray clusters: the one that is there, or one started in this process."""
