"""Families of interatomic potentials, one folder each."""
