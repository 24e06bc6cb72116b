"""Devices from measurements."""
