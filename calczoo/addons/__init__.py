"""Add-ons: terms made to be summed with a potential."""
