"""Configs of studies."""
