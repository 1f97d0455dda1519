"""Assembles EfficientNet-Lite0 as an ONNX graph from its trained tensors.

The network: a stem convolution, sixteen inverted residual blocks (expand, depthwise, project), a head convolution and
the mean over all places, which is the embedding; one more layer gives the classes. Batch normalisation is folded into
the convolutions, so that the graph is nothing but Conv, Clip (ReLU6), Add and one mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

SIDE = 224  # pixels of the square input
DIM = 1280  # numbers in an embedding
CLASSES = 1000
INPUT = "pictures"  # uint8 [n, SIDE, SIDE, 3], RGB
EMBEDDINGS = "embeddings"  # float32 [n, DIM], not normalised
LOGITS = "logits"  # float32 [n, CLASSES]

Tensors = Mapping[str, NDArray[Any]]

_EPSILON = 1e-3  # of the batch normalisation
_OPSET = 17
_IR_VERSION = 8  # goes with the opset, so that older runtimes load it too


class _Stage(NamedTuple):
    """Blocks of one shape; only the first of them has the stride and changes the channels."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int


_STAGES = (
    _Stage(1, 3, 1, 1, 32, 16),
    _Stage(2, 3, 2, 6, 16, 24),
    _Stage(2, 5, 2, 6, 24, 40),
    _Stage(3, 3, 2, 6, 40, 80),
    _Stage(3, 5, 1, 6, 80, 112),
    _Stage(4, 5, 2, 6, 112, 192),
    _Stage(1, 3, 1, 6, 192, 320),
)


def build(tensors: Tensors) -> bytes:
    """Returns the serialized ONNX model, checked. `tensors` are named as in the published weights.

    Raises:
        KeyError: A tensor is missing.
        ValueError: A tensor has the wrong shape.
    """
    graph = _Graph(tensors)
    x = graph.normalise(INPUT)
    x = graph.convolve(x, "_conv_stem", "_bn0", stride=2)
    for index, stage in enumerate(_blocks()):
        x = graph.block(x, f"_blocks.{index}", stage)
    x = graph.convolve(x, "_conv_head", "_bn1")
    x = graph.add("GlobalAveragePool", [x], "pooled")
    graph.add("Flatten", [x], EMBEDDINGS, axis=1)
    graph.add("Flatten", [graph.classify(x)], LOGITS, axis=1)
    return graph.serialize()


def _blocks() -> Iterator[_Stage]:
    """The stages unrolled, each with repeats=1."""
    for stage in _STAGES:
        yield stage._replace(repeats=1)
        for _ in range(stage.repeats - 1):
            yield stage._replace(repeats=1, stride=1, inputs=stage.outputs)


class _Graph:
    """Nodes and weights gathered so far. Methods take and return the names of values."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._side = SIDE
        self.constant("zero", np.float32(0))
        self.constant("six", np.float32(6))

    def constant(self, name: str, value: NDArray[Any] | np.float32) -> str:
        self._weights.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(onnx.helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def normalise(self, x: str) -> str:
        """uint8 [n, H, W, 3] to float32 [n, 3, H, W], (x - 127) / 128."""
        x = self.add("Transpose", [x], "planes", perm=[0, 3, 1, 2])
        x = self.add("Cast", [x], "floats", to=onnx.TensorProto.FLOAT)
        x = self.add("Sub", [x, self.constant("mean", np.float32(127))], "centred")
        return self.add("Mul", [x, self.constant("scale", np.float32(1 / 128))], "normalised")

    def block(self, x: str, name: str, stage: _Stage) -> str:
        """An inverted residual block."""
        y = x
        if stage.expansion != 1:
            y = self.convolve(y, f"{name}._expand_conv", f"{name}._bn0")
        y = self.convolve(y, f"{name}._depthwise_conv", f"{name}._bn1", stride=stage.stride)
        y = self.convolve(y, f"{name}._project_conv", f"{name}._bn2", activate=False)
        if stage.stride == 1 and stage.inputs == stage.outputs:
            y = self.add("Add", [y, x], f"{name}.sum")
        return y

    def convolve(self, x: str, conv: str, norm: str, *, stride: int = 1, activate: bool = True) -> str:
        """A convolution with its batch normalisation folded in, then ReLU6."""
        weight, bias = self._folded(f"{conv}.weight", norm)
        kernel = weight.shape[2]
        groups = weight.shape[0] if weight.shape[1] == 1 else 1
        y = self.add(
            "Conv",
            [x, self.constant(f"{conv}.weight", weight), self.constant(f"{conv}.bias", bias)],
            conv,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            group=groups,
            pads=self._pads(kernel, stride),
        )
        return self.add("Clip", [y, "zero", "six"], f"{conv}.relu6") if activate else y

    def _folded(self, weight: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights and bias that do what the convolution and its batch normalisation did, one after the other."""
        gamma, beta, mean, variance = (
            self._tensors[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + _EPSILON)
        folded = self._tensors[weight] * scale[:, None, None, None]
        return folded.astype(np.float32), (beta - mean * scale).astype(np.float32)

    def _pads(self, kernel: int, stride: int) -> list[int]:
        """TensorFlow's "SAME" padding: the odd pixel goes to the bottom and right. Follows the size of the planes."""
        size = -(-self._side // stride)
        total = max((size - 1) * stride + kernel - self._side, 0)
        self._side = size
        return [total // 2, total // 2, total - total // 2, total - total // 2]

    def classify(self, x: str) -> str:
        """The classes as a 1×1 convolution, so that no matrix product has the batch for an edge: runtimes may sum those
        in another order for another size, and the same picture must give the same bits."""
        weight = self._tensors["_fc.weight"][:, :, None, None]
        return self.add(
            "Conv",
            [x, self.constant("_fc.weight", weight), self.constant("_fc.bias", self._tensors["_fc.bias"])],
            "_fc",
        )

    def serialize(self) -> bytes:
        float32 = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            self._nodes,
            "efficientnet_lite0",
            [onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
            [
                onnx.helper.make_tensor_value_info(EMBEDDINGS, float32, ["n", DIM]),
                onnx.helper.make_tensor_value_info(LOGITS, float32, ["n", CLASSES]),
            ],
            self._weights,
        )
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="postil",
        )
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content
