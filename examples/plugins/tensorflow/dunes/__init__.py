"""A TensorFlow SavedModel, converted to ONNX, as a model of Reelwright."""
