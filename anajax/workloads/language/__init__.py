"""Language models with weights trained elsewhere, and their text."""

from anajax.workloads.language.checkpoints import load_llama as load_llama
from anajax.workloads.language.llama import Llama as Llama
from anajax.workloads.language.tokenizer import Tokenizer as Tokenizer
