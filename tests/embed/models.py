"""Small ONNX encoders and a tokenizer, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = ["[UNK]", "cat", "dog", "river", "stone", "sample", "a", "the"]


def _save(graph: onnx.GraphProto, path: Path) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def picture_encoder(path: Path, side: int = 32, dim: int = 24, seed: int = 0) -> Path:
    """float32 [n, 3, side, side] -> float32 [n, dim]: a convolution by 8, its mean over all places, one layer."""
    rng = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(rng.normal(size=(16, 3, 8, 8)).astype(np.float32), "patches"),
        numpy_helper.from_array(rng.normal(size=(16, dim)).astype(np.float32), "layer"),
    ]
    nodes = [
        helper.make_node("Conv", ["pixel_values", "patches"], ["places"], strides=[8, 8]),
        helper.make_node("Relu", ["places"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "layer"], ["image_embeds"]),
    ]
    inputs = [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, side, side])]
    outputs = [helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["n", dim])]
    return _save(helper.make_graph(nodes, "pictures", inputs, outputs, weights), path)


def text_encoder(path: Path, dim: int = 12) -> Path:
    """int64 [n, tokens] -> float32 [n, tokens, dim]: one vector a token, with a mask as exporters have it."""
    table = np.random.default_rng(1).normal(size=(len(WORDS), dim)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "last"], ["columns"]),
        helper.make_node("Mul", ["tokens", "columns"], ["last_hidden_state"]),
    ]
    weights = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([2], np.int64), "last")]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["n", "t", dim])]
    return _save(helper.make_graph(nodes, "texts", inputs, outputs, weights), path)


def custom_operator(path: Path) -> Path:
    """A model with an operator that only some library would bring along."""
    node = helper.make_node("RunPython", ["pixel_values"], ["out"], domain="evil.example")
    value = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 32, 32]) for name in ("pixel_values", "out")
    ]
    graph = helper.make_graph([node], "custom", value[:1], value[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("evil.example", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path


def tokenizer(path: Path) -> Path:
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))  # noqa: S106
    words.pre_tokenizer = Whitespace()
    words.save(str(path))
    return path
