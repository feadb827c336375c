"""Checks candidates with device vendors' tools: Arm Vela and TensorFlow Lite for Microcontrollers (TFLM)."""
