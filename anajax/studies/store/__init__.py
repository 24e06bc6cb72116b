"""The folder of a study, its parts, processes and versions."""
