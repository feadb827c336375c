"""Private, experimental, and version-dependent names of third-party libraries, with one module for each library.

`tests/components/upstream/test_seams.py` asserts every name, signature, and flag of the installed libraries, so that an
upgrade fails there. No other package uses such names, which `tests/test_foreign_names.py` enforces.

TFX 1.16 comes with TensorFlow 2.16, Beam 2.61, and Protobuf 4; TFX 1.21 comes with TensorFlow 2.21, Beam 2.77, and
Protobuf 6 (`requirements/*.lock`). Code outside this package doesn't check which of the two is installed.
"""
