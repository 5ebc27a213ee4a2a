"""An ONNX graph as a model of Reelwright."""
