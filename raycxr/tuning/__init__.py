"""Sweeps on Ray Tune: a search space over any keys of the configuration, each trial an ordinary run."""
