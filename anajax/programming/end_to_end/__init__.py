"""The lowest loss of the network: learned targets."""
