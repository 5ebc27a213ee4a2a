"""Write what tf2onnx makes of save_model.py, for a machine without TensorFlow: python make_graph.py FILE. It needs `onnx`.

The names and layouts are those of tf2onnx 1.17 with TensorFlow 2.21; the weights are others.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def make(path: Path) -> Path:
    """Write it to `path`; the same each time. Latents (n, h, w, 8) become pictures (n, 8h, 8w, 3), 0..1."""
    random = np.random.default_rng(5)
    weights = {
        "mix": random.normal(0, 1.0, (16, 8, 3, 3)),
        "paint": random.normal(0, 0.15, (3, 16, 3, 3)),
        "scales": np.array([1, 1, 8, 8]),
    }
    nodes = [
        helper.make_node("Transpose", ["latent"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["first"], ["calm"], kernel_shape=[9, 9], auto_pad="SAME_UPPER"),
        helper.make_node("Conv", ["calm", "mix"], ["mixed"], auto_pad="SAME_UPPER"),
        helper.make_node("Tanh", ["mixed"], ["bent"]),
        helper.make_node("Resize", ["bent", "", "scales"], ["large"], mode="linear"),
        helper.make_node("Conv", ["large", "paint"], ["painted"], auto_pad="SAME_UPPER"),
        helper.make_node("Sigmoid", ["painted"], ["bright"]),
        helper.make_node("Transpose", ["bright"], ["frames"], perm=[0, 2, 3, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "dunes",
        [helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["n", "h", "w", 8])],
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["n", "8h", "8w", 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


if __name__ == "__main__":
    print(f"wrote {make(Path(sys.argv[1]).expanduser())}")
