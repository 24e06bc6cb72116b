"""Parts of hardware-aware training for any training loop, and a loop of our own.

    noise = device_noise(device, strategy, times)
    optimizer = optax.chain(optax.adam(1e-3), clip_weights(sigmas=2.5))

    def loss(params, x, reference, key, i):
        noisy = noise(params, key, strength=ramp(i))
        return distillation(apply(noisy, x, key=key), reference)

All noise is additive: the forward pass uses the weights of a chip, and the gradient is
evaluated there. It is applied straight-through to the weights themselves or, with
`table_noise(through=True)`, passes through the model of the chip.
"""

from anajax.programming.end_to_end.targets import distillation as distillation
from anajax.training.adapters import measured_adapters as measured_adapters
from anajax.training.adapters import principal_directions as principal_directions
from anajax.training.bounds import clip_weights as clip_weights
from anajax.training.loop import Train as Train
from anajax.training.loop import TrainOptions as TrainOptions
from anajax.training.loop import trainer as trainer
from anajax.training.noise import Noise as Noise
from anajax.training.noise import device_noise as device_noise
from anajax.training.noise import gaussian_noise as gaussian_noise
from anajax.training.noise import noise_ramp as noise_ramp
from anajax.training.tables import table_noise as table_noise
