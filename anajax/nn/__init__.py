"""Flax NNX layers on analog hardware, and the conversion of models to them."""
