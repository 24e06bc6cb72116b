"""The type checker where ANAJAX_TYPECHECK is set: an int is a float, too."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
