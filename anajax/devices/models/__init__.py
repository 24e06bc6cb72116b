"""Published memories, a technology a file: its stages, its presets, how it is fitted.

Every preset is a function that returns a `Device`; nothing is cached. `RECORDS` and
`PRESETS` of each file are joined in `devices.records`.
"""
