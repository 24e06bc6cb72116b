"""Analysis of a network on given hardware, without configs or files."""
