"""Foundations: pytrees, types, checks, normal random numbers."""
