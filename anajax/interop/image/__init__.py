"""Chip images: all that is needed to program a chip, as a folder of plain files."""

from anajax.interop.image.files import read as read
from anajax.interop.image.files import write as write
from anajax.interop.image.image import Image as Image
from anajax.interop.image.image import Product as Product
