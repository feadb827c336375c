"""Recurrent layers written out as plain integer operators."""
