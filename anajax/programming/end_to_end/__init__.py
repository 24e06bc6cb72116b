"""The least loss of the network: targets through chips."""
