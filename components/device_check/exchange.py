"""The contract between a tool's process and its caller. Has no imports, because the process must start quickly."""

MODEL_FILE = "model.tflite"
# Exit code if the tool rejects the file. The last lines of the log are the tool's message.
REFUSED = 3
# Exit code if the Python that runs the process doesn't have the tool.
NO_TOOL = 4
