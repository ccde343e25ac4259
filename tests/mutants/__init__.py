"""Mutations of every step of the store, each of which the tests must notice."""
