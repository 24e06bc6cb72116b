"""Published memories, one technology per file: its stages, presets and likelihood.

Every preset is a function that returns a `Device`; nothing is cached. `RECORDS` and
`PRESETS` of each file are joined in `devices.records`.
"""
