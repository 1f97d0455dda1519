"""Counts what is in a version of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from postil.v1.data_pb2 import Data, Region
from postil.v1.dataset_pb2 import DatasetVersionInput, DatasetVersionMetrics

_SHAPES = {
    "bounding_box": "bounding_boxes_count",
    "polygon": "polygons_count",
    "point": "points_count",
    "mask": "masks_count",
}
_COUNTED = (
    "inputs_count", "unlabeled_inputs_count", "inputs_with_metadata_count", "inputs_with_geo_count", "regions_count",
    "bounding_boxes_count", "polygons_count", "points_count", "masks_count", "region_inputs_count",
    "region_frames_count", "frames_count", "frame_inputs_count", "positive_input_tags_count",
    "positive_region_tags_count", "positive_frame_tags_count",
)  # fmt: skip


class Tally:
    """Counts inputs as they pass by."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(_COUNTED, 0)

    def counting(self, inputs: Iterable[DatasetVersionInput]) -> Iterator[DatasetVersionInput]:
        """The same inputs, counted."""
        for one in inputs:
            self._count(one)
            yield one

    def message(self) -> DatasetVersionMetrics:
        """What was counted so far."""
        found = DatasetVersionMetrics()
        for name, number in self._counts.items():
            getattr(found, name).value = number
        return found

    def _count(self, one: DatasetVersionInput) -> None:
        counts, datas = self._counts, [annotation.data for annotation in one.annotations]
        frames = [frame.data for data in datas for frame in data.frames]
        regions = [region for data in (*datas, *frames) for region in data.regions]
        counts["inputs_count"] += 1
        counts["inputs_with_metadata_count"] += bool(one.input.data.metadata.fields)
        counts["inputs_with_geo_count"] += one.input.data.HasField("geo")
        counts["frames_count"] += len(frames)
        counts["frame_inputs_count"] += bool(frames)
        counts["region_frames_count"] += sum(bool(frame.regions) for frame in frames)
        counts["region_inputs_count"] += bool(regions)
        counts["positive_input_tags_count"] += _present(datas)
        counts["positive_frame_tags_count"] += _present(frames)
        counts["positive_region_tags_count"] += _present(region.data for region in regions)
        named = any(data.concepts for data in (*datas, *frames, *(region.data for region in regions)))
        counts["unlabeled_inputs_count"] += not named
        self._shapes(regions)

    def _shapes(self, regions: Iterable[Region]) -> None:
        for region in regions:
            self._counts["regions_count"] += 1
            for shape, name in _SHAPES.items():
                self._counts[name] += region.region_info.HasField(shape)  # type: ignore[arg-type]


def _present(datas: Iterable[Data]) -> int:
    return sum(concept.value > 0 for data in datas for concept in data.concepts)
