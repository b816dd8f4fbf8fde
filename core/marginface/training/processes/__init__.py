"""The processes that share a run: how they start, listen and agree."""
