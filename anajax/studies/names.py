"""Names that people read in figures: of networks, memories and programs.

What a config and a table say is what one types; a figure shows what it stands for. What
is not named here, such as your own, is shown as it is called, in words.
"""

NETWORKS = {
    "digits": "handwritten digits, small CNN",
    "banking77_minilm": "intents, MiniLM-L6",
    "cifar10_resnet20": "CIFAR-10, ResNet-20",
    "cifar10_resnet32": "CIFAR-10, ResNet-32",
    "fashion_resnet8": "Fashion-MNIST, ResNet-8",
    "fashion_resnet32": "Fashion-MNIST, ResNet-32",
    "fsdd_lstm": "spoken digits, LSTM",
    "kws_lstm_s": "keywords, small LSTM",
    "kws_lstm_l": "keywords, large LSTM",
    "kws_lstm_s_speakers": "keywords, small LSTM",
    "kws_lstm_l_speakers": "keywords, large LSTM",
    "smollm2": "WikiText-2, SmolLM2-135M",
    "tinyshakespeare_llama": "Shakespeare, small Llama",
    "tinyshakespeare_lstm": "Shakespeare, LSTM",
}
"""By the name of a workload."""
DEVICES = {
    "ideal": "ideal cells",
    "state_independent": "cells of equal noise",
    "pcm": "PCM",
    "pcm_joshi": "PCM (Joshi 2020)",
    "pcm_hermes": "HERMES PCM",
    "pcm_hermes_1": "HERMES PCM",
    "pcm_hermes_2": "HERMES PCM, two devices",
    "reram_wan": "ReRAM (Wan 2022)",
    "reram_cmo": "CMO/HfOx ReRAM",
    "reram_cmo_2": "CMO/HfOx ReRAM, 2 %",
    "reram_milo": "ReRAM (Milo 2021)",
    "flash_sonos": "SONOS flash",
    "flash_floating_gate": "floating-gate flash",
    "mram_stt": "STT-MRAM",
}
"""By the name of a device."""
PROGRAMS = {
    "digital": "digital",
    "single_pair": "single pair",
    "offset_device": "one device with offset",
    "msp_first": "most significant pair first",
    "lsp_first": "least significant pair first",
    "equal_split": "two equal pairs",
    "msp_first_tuned": "most significant pair first, tuned",
    "lsp_first_tuned": "least significant pair first, tuned",
    "equal_split_tuned": "two equal pairs, tuned",
    "pairs_per_layer": "pairs by layer",
    "optimized": "least weight error",
    "targets": "learned targets",
    "closed_loop": "closed loop",
    "product_descent": "product descent",
    "recommended": "recommended",
}
"""By the name of a way to program."""


def network(name: str) -> str:
    """A workload as people know it."""
    return NETWORKS.get(name, _words(name))


def device(name: str) -> str:
    """A memory as people know it."""
    return DEVICES.get(name, _words(name))


def program(label: str, *, trained: bool = False) -> str:
    """A strategy as people know it.

    Args:
        label: of the strategy.
        trained: whether it is on trained weights; a label of one's own says so itself.
    """
    known = PROGRAMS.get(label)
    if known is None:
        return _words(label)
    return f"{known}, trained weights" if trained else known


def upper(text: str) -> str:
    """Text as a title begins."""
    return text[:1].upper() + text[1:]


def _words(name: str) -> str:
    return name.replace("_", " ")
