"""Tuning: which settings are searched, which generators are hopeless, what the search found and whether it holds."""
