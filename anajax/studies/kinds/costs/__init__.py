"""Kinds of studies about the costs of accuracy."""
