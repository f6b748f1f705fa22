"""The core: structures, pairs, results, models. Imports nothing of the families."""
