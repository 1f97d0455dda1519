"""Opens ONNX models with onnxruntime: CPU, a bounded number of threads, quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime


def open_session(path: Path, threads: int) -> Any:
    """An `onnxruntime.InferenceSession`; its `run` may be called from several threads at once.

    No custom operators are registered, so a model can only compute.

    Args:
        path: The model. Read from the file rather than from bytes, which would stay in memory a second time.
        threads: How many threads one run may use. They are shared by runs that overlap.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: warnings about foreign models are of no use to an operator
    # Threads that spin while they wait take the cores from everything else in the process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
