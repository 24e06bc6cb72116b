"""Studies: a network on many chips at many times, from config to report."""
