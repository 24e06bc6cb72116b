"""Kinds of studies."""
