"""The back-end for lowered recurrent layers."""
