"""Configs: what a study is asked to do."""
