"""One file per data set as it lies on disk: which films there are, where their masks lie, how a film is read."""
