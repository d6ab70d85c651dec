"""From raw films to verified shards, and from shards to training batches."""
