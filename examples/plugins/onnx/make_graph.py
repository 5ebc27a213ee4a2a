"""Write the graph: python make_graph.py FILE. In its place would stand an export of your own network. It needs `onnx`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def make(path: Path) -> Path:
    """Write it to `path`; the same each time. Latents (n, 8, h, w) become pictures (n, 3, 8h, 8w), 0..1."""
    random = np.random.default_rng(4)
    weights = {
        "mix": random.normal(0, 1.0, (16, 8, 3, 3)),
        "paint": random.normal(0, 0.15, (3, 16, 3, 3)),
        "scales": np.array([1, 1, 8, 8]),
    }
    nodes = [
        helper.make_node("AveragePool", ["latent"], ["calm"], kernel_shape=[9, 9], pads=[4, 4, 4, 4]),
        helper.make_node("Conv", ["calm", "mix"], ["mixed"], pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["mixed"], ["bent"]),
        helper.make_node("Resize", ["bent", "", "scales"], ["large"], mode="linear"),
        helper.make_node("Conv", ["large", "paint"], ["painted"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["painted"], ["frames"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tides",
        [helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["n", 8, "h", "w"])],
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["n", 3, "8h", "8w"])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


if __name__ == "__main__":
    print(f"wrote {make(Path(sys.argv[1]).expanduser())}")
