"""Recurrent layers in integers: the SRU, our lowering of cells to integer kernels, and their training."""
