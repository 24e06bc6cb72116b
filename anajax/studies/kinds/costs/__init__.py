"""Kinds of studies that ask what accuracy costs."""
