"""Paths of files inside artifacts, shared by the components that write and read them."""

# In a Model artifact: the paths at which stock TFX expects a SavedModel and a TFLite file.
SERVING_FOLDER = "Format-Serving"
# The signature of that SavedModel that is the model.
SIGNATURE = "serving_default"
TFLITE_FILE = f"{SERVING_FOLDER}/tflite"
# In the same artifact, if there is one: the Keras model, for steps that train it further.
KERAS_FILE = "Format-Keras/model.keras"
# Next to it, if it was rebuilt from a model of Keras 3: RebuiltFacts.
REBUILT_FILE = "Format-Keras/rebuilt.json"
# In the Model artifact of a step that trained lowered recurrent layers: sequences and the float states.
TRAJECTORIES_FILE = "trajectories.npz"
# In the Model artifact of a step that trained LSTMs, which the converter fuses: sequences of the training split.
FUSED_SAMPLE_FILE = "sequences.npz"
# In the Model artifact of a training step: a TrainingReport and TensorBoard logs.
TRAINING_FILE = "training.json"
LOGS_FOLDER = "logs"
# In a candidate's Model artifact: a ConversionOutcome.
OUTCOME_FILE = "outcome.json"
# In the artifact of an explanation: an Explanation.
EXPLANATION_FILE = "explanation.json"
# In the same artifact, and next to a report: files for Model Explorer.
NODE_DATA_FOLDER = "node_data"
# In the Model artifact of a device's champion: a Champion.
CHAMPION_FILE = "champion.json"
# In the artifact of a challenge: a Challenge.
CHALLENGE_FILE = "challenge.json"
# In an artifact of predictions: its report and the stored outputs.
PREDICTIONS_FOLDER = "predictions"
# In the artifact of changes: Changes.
CHANGES_FILE = "changes.json"
# In the artifact of a device check: a DeviceReport.
DEVICE_REPORT_FILE = "device_report.json"
# In the gate's chosen Model artifact, if TensorFlow Lite Micro ran the file: TflmFacts.
TFLM_FILE = "tflm.json"
# In the same artifact: the metrics of the float baseline (BaselineSlices).
BASELINE_SLICES_FILE = "baseline.json"
# The only split of a calibration sample's Examples artifact.
CALIBRATION_SPLIT = "calibration"
