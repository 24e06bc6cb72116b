"""The version of anajax."""

VERSION = "0.1.0"
