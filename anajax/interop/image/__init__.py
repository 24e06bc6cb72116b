"""Chip images: what a chip team takes away, as a folder that any tool can read."""

from anajax.interop.image.files import read as read
from anajax.interop.image.files import write as write
from anajax.interop.image.image import Image as Image
from anajax.interop.image.image import Product as Product
