"""The stress run: applications, workers and trouble at once, and the invariant looked at meanwhile."""
