"""Writing an ONNX graph: nodes in memory, tensors straight to a data file beside it.

A checkpoint may be larger than the memory there is to spare, so each tensor is written as it comes
and forgotten. The file keeps them apart from the graph, where the runtime maps it and processes
share its pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

__all__ = ["Array", "GraphWriter"]

OPSETS = (("", 23), ("com.microsoft", 1))
IR_VERSION = 11
# A mapped tensor must start on a page.
PAGE = 4096

Array = np.ndarray[Any, np.dtype[Any]]
Attribute = int | float | str | GraphProto


class GraphWriter:
    """A graph under construction. Every method that adds something returns the value's name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data_path = path.with_suffix(".data")
        self._data = self._data_path.open("wb")
        self._nodes: list[NodeProto] = []
        self._tensors: list[TensorProto] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._data.close()

    def tensor(self, name: str, values: Array) -> str:
        """Add weights: their bytes go to the data file now."""
        self._data.write(b"\0" * (-self._data.tell() % PAGE))
        start = self._data.tell()
        content = np.ascontiguousarray(values)
        self._data.write(content.view(np.uint8).data)
        tensor = TensorProto(
            name=name,
            dims=values.shape,
            data_type=helper.np_dtype_to_tensor_dtype(values.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": self._data_path.name, "offset": start, "length": content.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._tensors.append(tensor)
        return name

    def constant(self, name: str, values: Array) -> str:
        """Add a small tensor that shapes or conditions are made of: it stays inside the graph."""
        self._tensors.append(onnx.numpy_helper.from_array(values, name))
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str,
        *,
        domain: str = "",
        **attributes: Attribute,
    ) -> str:
        """Add an operator with one output."""
        node = helper.make_node(operator, inputs, [output], domain=domain)
        node.attribute.extend(helper.make_attribute(*pair) for pair in attributes.items())
        self._nodes.append(node)
        return output

    def save(self, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> None:
        graph = helper.make_graph(self._nodes, "encoder", inputs, outputs, self._tensors)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS],
            ir_version=IR_VERSION,
            producer_name="gte-pg",
        )
        self._path.write_bytes(model.SerializeToString())
