"""Lowering of recurrent layers to plain integer operators."""
