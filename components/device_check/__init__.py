"""Candidates judged by the device makers' own tools: Arm Vela and TensorFlow Lite for microcontrollers."""
