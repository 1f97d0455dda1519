"""The configured embedders behind one door: which there are, and a queue for each.

The built-in models are described without being loaded; each is loaded by its queue on first use, or by `warm`. A
user's own models are loaded at once, so that a wrong path stops the start and not a later request.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from postil.embed import picture, text
from postil.embed.base import Embedder, Spec
from postil.embed.onnx_model import OnnxModel, UserModel
from postil.embed.queue import BatchingQueue

# Version ids that published clients and examples carry, and what they stand for here.
ALIASES = {"bbb5f41425b8468d9b7a554ff10f8581": picture.SPEC.model_id}

# More than this per run gains nothing for one picture; overlapping runs use the other cores.
_THREADS_PER_RUN = 4


class ModelRegistry:
    """Implements `embed.base.Embedders`. Thread-safe.

    Args:
        data_dir: Converted models go to its folder `models`.
        threads: Cores that embedding may use.
        user_models: The user's own, from the configuration.

    Raises:
        Unusable: A user's model cannot be loaded.
        ValueError: Two models share a name.
    """

    def __init__(self, data_dir: Path, threads: int, user_models: Sequence[UserModel] = ()) -> None:
        per_run = min(threads, _THREADS_PER_RUN)
        load_picture = partial(picture.PictureModel, data_dir / "models", per_run)
        self._queues = [
            BatchingQueue(picture.SPEC, load_picture, threads),
            BatchingQueue(text.SPEC, text.TextModel, threads),
        ]
        self._defaults = {queue.spec.kind: queue for queue in self._queues}
        for settings in user_models:
            model = OnnxModel(settings, per_run)
            queue = BatchingQueue(model.spec, partial(_same, model), threads)
            self._queues.append(queue)
            if settings.default:
                self._defaults[settings.kind] = queue
        self._by_id = self._ids()

    def specs(self) -> list[Spec]:
        return [queue.spec for queue in self._queues]

    def default(self, kind: str) -> BatchingQueue | None:
        return self._defaults.get(kind)

    def by_version(self, version_id: str) -> BatchingQueue | None:
        return self._by_id.get(ALIASES.get(version_id, version_id))

    def warm(self) -> threading.Thread:
        """Loads the default models on a thread of its own, which is returned. What cannot be loaded now is tried
        again, and the error told, at first use."""
        thread = threading.Thread(target=self._load_defaults, name="embed-warm", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Finishes what was submitted."""
        for queue in self._queues:
            queue.close()

    def _load_defaults(self) -> None:
        for queue in self._defaults.values():
            try:
                queue.embedder()
            except Exception:  # noqa: BLE001, S112 told to whoever uses the model first
                continue

    def _ids(self) -> dict[str, BatchingQueue]:
        by_id: dict[str, BatchingQueue] = {}
        for queue in self._queues:
            for name in {queue.spec.model_id, queue.spec.version_id}:
                if name in by_id:
                    raise ValueError(f"two models are called {name!r}; give each a name of its own")
                by_id[name] = queue
        return by_id


def _same(model: Embedder) -> Embedder:
    return model
