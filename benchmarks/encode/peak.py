"""What this machine's float32 matrix multiplication can do, and what a model asks of it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from gte_pg.models.architecture import NewArchitecture, read_architecture

ROWS, INNER, COLUMNS = 1024, 768, 2304


def gflops_per_cpu_second(rounds: int = 60) -> float:
    """One thread of onnxruntime on one large product, the best of many rounds."""
    matrix = helper.make_tensor_value_info
    node = helper.make_node("Gemm", ["a", "b"], ["c"])
    weight = np.random.default_rng(1).standard_normal((INNER, COLUMNS), np.float32)
    tensor = helper.make_tensor("b", TensorProto.FLOAT, weight.shape, weight.tobytes(), raw=True)
    inputs = [matrix("a", TensorProto.FLOAT, [ROWS, INNER])]
    outputs = [matrix("c", TensorProto.FLOAT, [ROWS, COLUMNS])]
    graph = helper.make_graph([node], "peak", inputs, outputs, [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    values = np.random.default_rng(2).standard_normal((ROWS, INNER), np.float32)
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        session.run(None, {"a": values})
        best = min(best, time.process_time() - started)
    return 2e-9 * ROWS * INNER * COLUMNS / best


def model_gflop(directory: Path, counts: np.ndarray) -> float:
    """Return what the linear layers and the attention of these texts need, padding not counted."""
    model = read_architecture(directory)
    gate = 2 if isinstance(model, NewArchitecture) else 1
    linear = 4 * model.hidden**2 + (1 + gate) * model.hidden * model.intermediate
    attention = 2 * model.hidden * counts.astype(np.float64) ** 2
    return float(2e-9 * model.layers * (linear * counts.sum() + attention.sum()))
